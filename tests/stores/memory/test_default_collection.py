"""A default collection with a name."""

from __future__ import annotations

from typing import Any

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    Keyring,
    MemoryStore,
    Stack,
    rewrite,
    stack,
    store_from_url,
)

KEYRING = Keyring({"k": b"k" * 32})
STACKS = {
    "bare": stack(),
    "encrypted": stack().compress(min_size=0).encrypt(KEYRING),
    "renamed": stack().prefix_collection("app-").single_collection("all"),
}


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
async def test_calls_that_name_no_collection_are_in_the_named_one(layers: Stack) -> None:
    base = MemoryStore(default_collection="home")
    store = layers.over(base) if layers.layers else base
    named = {"collection": "home"}

    await store.put("a", 1)
    assert await store.get("a", **named) == 1
    await store.put_many(["b", "c"], [2, 3], **named)
    assert await store.get_many(["a", "b", "c"]) == [1, 2, 3]
    assert await store.require("b") == 2
    assert await store.exists("c")
    assert await store.ttl("a") == (1, None)
    assert await store.increment("n") == 1
    assert await store.increment("n", **named) == 2
    assert not await store.put_if_absent("a", 9)
    assert await store.expire("a", 60)
    assert await store.keys() == await store.keys("home") == ["a", "b", "c", "n"]
    assert await store.count() == 4
    assert await store.collections() == ["home"]
    assert [key async for key in store.scan(prefix="b")] == ["b"]
    assert [item async for item in store.items(prefix="b")] == [("b", 2)]
    assert await store.move("b", "d", target_collection="home")
    assert await store.pop("d") == 2
    assert await store.get_or_put("e", lambda: 5, ttl=60) == 5
    assert await store.get_or_put("e", lambda: 6, **named) == 5
    assert await store.delete("e", **named)
    assert await store.delete_where(prefix="n") == 1
    assert await store.destroy_collection(None)
    assert await store.collections() == []


async def test_views_and_cached_functions_use_it() -> None:
    store = MemoryStore(default_collection="home")

    @store.cached()
    async def double(number: int) -> int:
        return 2 * number

    assert await double(4) == 8
    assert await store.get(double.key(4), collection="home") == 8
    view = store.typed(dict[str, int])
    await view.put("t", {"n": 1})
    assert await view.get_or_put("t", lambda: {"n": 2}) == {"n": 1}
    assert await view.get("t", collection="home") == {"n": 1}


def test_blocking_views_use_it() -> None:
    with kvwrap.sync(MemoryStore(default_collection="home")) as store:
        assert store.get_or_put("a", lambda: 1) == 1
        assert store.get("a", collection="home") == 1
    with kvwrap.mapping(MemoryStore(default_collection="home")) as mapping:
        mapping["a"] = 1
        assert mapping.store.get("a", collection="home") == 1


async def test_seeded_and_rewritten_values_are_in_it() -> None:
    base = MemoryStore(default_collection="home", seed={None: {"a": 1}, "home": {"b": 2}})
    assert await base.keys("home") == ["a", "b"]
    store = stack().compress(min_size=0).over(base)
    await store.put("c", "text " * 100, collection="other")
    report = await rewrite(store, collections=[None])
    assert report.rewritten + report.current == 2


async def test_it_is_an_option_of_the_url() -> None:
    store = store_from_url("memory://?default_collection=home")
    await store.put("a", 1)
    assert await store.get("a", collection="home") == 1


@pytest.mark.parametrize("name", ["", 3, "kvwrap.mine"])
def test_a_name_that_no_collection_can_have_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError):
        MemoryStore(default_collection=name)
