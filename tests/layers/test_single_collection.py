"""All collections in one: keys never collide, and names are restored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidKey,
    MemoryStore,
    SingleCollection,
    StackWarning,
    UnsupportedOperation,
    stack,
)
from tests.layers.without_capabilities import WithoutCapabilities

# Characters that could be confused with one another, and one that takes several bytes.
tricky = st.text("_a%5F€", min_size=1, max_size=5)
collections = st.none() | tricky
separators = st.text("_a€", min_size=1, max_size=3)


async def test_plain_names_stay_readable() -> None:
    base = MemoryStore()
    store = SingleCollection("all").over(base)
    await store.put("1", "a", collection="user_profiles")
    await store.put("1", "b")
    await store.put("1", "c", collection="a__b")
    await store.put("1", "d", collection="ends_")
    assert await base.collections() == ["all"]
    assert await base.keys("all") == ["__1", "a%5F%5Fb__1", "ends%5F__1", "user_profiles__1"]
    assert set(await store.collections()) == {"user_profiles", "a__b", "ends_"}
    assert await store.keys("a__b") == ["1"]


@given(
    st.dictionaries(st.tuples(collections, tricky), st.integers(), max_size=12),
    separators,
    tricky,
)
async def test_no_two_keys_collide_and_all_names_are_restored(
    values: dict[tuple[str | None, str], int], separator: str, asked: str
) -> None:
    store = SingleCollection("all", separator).over(MemoryStore())
    for (collection, key), value in values.items():
        await store.put(key, value, collection=collection)
    for (collection, key), value in values.items():
        assert await store.get(key, collection=collection) == value
    named = {collection for collection, _ in values} - {None}
    assert set(await store.collections()) == named
    for collection in (*named, None, asked):
        keys = sorted(key for where, key in values if where == collection)
        assert await store.keys(collection) == keys
    if values:
        destroyed = next(iter(values))[0]
        assert await store.destroy_collection(destroyed)
        for (collection, key), value in values.items():
            expected = None if collection == destroyed else value
            assert await store.get(key, collection=collection) == expected


async def test_other_operations_use_the_right_names() -> None:
    base = MemoryStore()
    store = SingleCollection("all", "/").over(base)
    assert await store.increment("n", collection="c") == 1
    assert await store.move("n", "m", collection="c", target_collection="d/e")
    assert await base.keys("all") == ["d%2Fe/m"]
    await store.put_many(["a1", "a2", "b"], [1, 2, 3], collection="c")
    assert [k async for k in store.scan(collection="c", prefix="a", start="a2")] == ["a2"]
    assert [k async for k in store.scan(collection="c", end="a2")] == ["a1"]


async def test_destroy_drops_its_collection_and_no_other() -> None:
    base = MemoryStore()
    await base.put("k", 1, collection="other")
    await base.put("k", 1)
    for removed in ((), (Capability.DESTROY_COLLECTION,)):
        store = stack().single_collection("all").layer(WithoutCapabilities(*removed)).over(base)
        await store.put("k", 1, collection="c")
        await store.put("k", 1)
        assert await store.destroy()
        assert not await store.destroy()
        assert await base.collections() == ["other"]
    in_default = SingleCollection(None).over(base)
    assert await in_default.get("k") is None
    await in_default.put("k", 2)
    assert set(await base.keys()) == {"k", "__k"}


async def test_over_a_store_that_cannot_enumerate_keys() -> None:
    without_keys = WithoutCapabilities(Capability.KEYS)
    store = stack().single_collection("all").layer(without_keys).over(MemoryStore())
    assert not {Capability.COLLECTIONS, Capability.DESTROY_COLLECTION} & store.capabilities
    assert Capability.DESTROY in store.capabilities
    await store.put("k", 1, collection="c")
    for refused in (store.collections(), store.destroy_collection("c")):
        with pytest.raises(UnsupportedOperation):
            await refused
    assert await store.destroy()


@pytest.mark.parametrize("name", ["kvwrap.dictionaries", "kvwrap.x"])
def test_a_collection_of_layers_own_records_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="reserved for the records of layers"):
        SingleCollection(name)


@pytest.mark.parametrize("separator", ["", None, 5, "%", "0x", "A_", "\ud800"])
def test_invalid_separators_are_refused(separator: Any) -> None:
    with pytest.raises(ConfigurationError, match="separator"):
        SingleCollection("all", separator)


def test_an_empty_collection_name_is_refused() -> None:
    with pytest.raises((ConfigurationError, InvalidKey)):
        SingleCollection("")


def test_names_that_are_hashed_inside_are_reported() -> None:
    with pytest.warns(StackWarning, match="key-prefix-outside-hashed-keys"):
        stack().single_collection("all").hash_keys(b"s" * 16).over(MemoryStore())


@pytest.mark.parametrize(
    ("separator", "collection", "stored"),
    [
        (".", "kvwrap", "%6Bvwrap.key"),
        ("rap.", "kvw", "%6Bvwrap.key"),
        ("v", "k", "%6Bvkey"),
        (".", "%6Bvwrap", "%256Bvwrap.key"),
        (".", "kvwraps", "kvwraps.key"),
    ],
)
async def test_no_key_has_a_reserved_name(separator, collection, stored):
    base = MemoryStore()
    store = stack().single_collection(None, separator=separator).over(base)
    await store.put("key", 1, collection=collection)
    assert await base.keys() == [stored]
    assert await store.collections() == [collection]
    assert await store.keys(collection) == ["key"]
    assert await store.destroy_collection(collection)


@pytest.mark.parametrize("separator", ["k", "kvwrap", "kvwrap.", "kvwrap.a"])
def test_separators_that_make_reserved_names_are_refused(separator):
    with pytest.raises(ConfigurationError, match="reserved"):
        stack().single_collection(None, separator=separator)
