"""Keys with a prefix: what other programs see, and that their keys stay untouched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    PrefixKey,
    StackWarning,
    UnsupportedOperation,
    stack,
)
from tests.layers.without_capabilities import WithoutCapabilities

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


async def test_keys_have_the_prefix_inside_and_not_outside() -> None:
    base = MemoryStore()
    store = PrefixKey("a/").over(base)
    await store.put_many(["k", "a/", "é"], [1, 2, 3], collection="c")
    await store.put("k", 4)
    assert await base.keys("c") == ["a/a/", "a/k", "a/é"]
    assert await base.keys() == ["a/k"]
    assert await store.keys("c") == ["a/", "k", "é"]
    assert await store.get_many(["k", "a/", "é", "x"], collection="c") == [1, 2, 3, None]


async def test_keys_of_others_in_the_same_collection_are_untouched_and_not_listed() -> None:
    base = MemoryStore()
    store, other = PrefixKey("a/").over(base), PrefixKey("b/").over(base)
    await base.put_many(["a", "a/", "a0", "z"], [0, 0, 0, 0], collection="c")
    await other.put("k", "b", collection="c")
    await other.put("k", "b", collection="only-b")
    await store.put_many(["k", "l"], [1, 2], collection="c")
    await store.put("k", 3)
    assert await store.collections() == ["c"]
    assert await store.keys("c") == ["k", "l"]
    assert await store.destroy_collection("c")
    assert not await store.destroy_collection("c")
    assert await store.get("k") == 3
    assert await store.destroy()
    assert not await store.destroy()
    assert await base.keys("c") == ["a", "a/", "a0", "b/k", "z"]
    assert await other.collections() == ["c", "only-b"]


@given(
    st.sets(names, max_size=8),
    st.sets(names, max_size=8),
    names,
    st.one_of(st.just(""), names),
    st.none() | names,
    st.none() | names,
)
async def test_ranges_are_those_of_the_keys_alone(
    keys: set[str], others: set[str], own: str, prefix: str, start: str | None, end: str | None
) -> None:
    base = MemoryStore()
    store = PrefixKey(own).over(base)
    for key in others:
        if not key.startswith(own) or key == own:
            await base.put(key, "other")
    for key in keys:
        await store.put(key, "own")
    listed = [key async for key in store.scan(prefix=prefix, start=start, end=end)]
    assert listed == sorted(
        key
        for key in keys
        if key.startswith(prefix) and (start is None or key >= start) and (end is None or key < end)
    )


async def test_other_operations_use_the_right_names() -> None:
    base = MemoryStore()
    store = PrefixKey("a/").over(base)
    assert await store.increment("n") == 1
    assert await store.increment("n", 4) == 5
    assert await store.put_if_absent("x", 1)
    assert not await store.put_if_absent("x", 2)
    assert await store.move("x", "y", target_collection="there")
    assert await base.get("a/y", collection="there") == 1
    assert await store.expire("n", 50)
    assert await base.get("a/n") == 5
    assert await store.pop("n") == 5
    assert await base.collections() == ["there"]


async def test_over_a_store_that_cannot_enumerate_keys() -> None:
    base = MemoryStore()
    store = stack().prefix_key("a/").layer(WithoutCapabilities(Capability.KEYS)).over(base)
    removed = {Capability.COLLECTIONS, Capability.DESTROY, Capability.DESTROY_COLLECTION}
    assert not removed & store.capabilities
    with pytest.raises(UnsupportedOperation, match="PrefixKey"):
        await store.collections()
    with pytest.raises(UnsupportedOperation):
        await store.destroy_collection("c")


@pytest.mark.parametrize("prefix", ["", None, 5, b"a", "\ud800"])
def test_an_invalid_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        PrefixKey(prefix)


def test_a_prefix_that_is_hashed_inside_is_reported() -> None:
    with pytest.warns(StackWarning, match="key-prefix-outside-hashed-keys"):
        stack().prefix_key("a/").hash_keys(b"s" * 16).over(MemoryStore())
    assert stack().hash_keys(b"s" * 16).prefix_key("a/").over(MemoryStore()).findings == ()
