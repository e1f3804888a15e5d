"""The operations of py-key-value's protocol: over real backends, and over its own stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

import kvwrap
from kvwrap import KeyNotFound, Keyring, Store, stack

LAYERS = stack().statistics().compress(min_size=1).encrypt(Keyring.generate())
OWN: dict[str, Callable[[], Store]] = {
    "their store": lambda: kvwrap.adapt(TheirMemoryStore()),
    "their store, layered": lambda: LAYERS.over(TheirMemoryStore()),
    "their wrapper, layered": lambda: LAYERS.over(
        PrefixKeysWrapper(TheirMemoryStore(), prefix="p")
    ),
}
MANY = {"a": {"n": 1}, "b": {"n": 2}}


async def use(store: Any) -> None:
    """Do what the eight methods of the protocol do."""
    assert await store.get("key") is None
    await store.put("key", {"n": 0}, collection="c", ttl=600)
    assert await store.get("key", collection="c") == {"n": 0}
    assert await store.get("key") is None
    value, seconds = await store.ttl("key", collection="c")
    assert (value, 500 < seconds <= 600) == ({"n": 0}, True)
    await store.put_many(list(MANY), list(MANY.values()), collection="c", ttl=600)
    assert await store.get_many(["a", "missing", "b"], collection="c") == [{"n": 1}, None, {"n": 2}]
    pairs = await store.ttl_many(["b", "missing"], collection="c")
    assert [value for value, _ in pairs] == [{"n": 2}, None]
    assert pairs[1] == (None, None)
    assert await store.delete("key", collection="c")
    assert not await store.delete("key", collection="c")
    assert await store.delete_many(["a", "missing"], collection="c") == 1
    assert await store.get_many(["a", "b"], collection="c") == [None, {"n": 2}]


async def enumerate_and_destroy(store: Any) -> None:
    """Do what the optional protocols do."""
    await store.put_many(list(MANY), list(MANY.values()), collection="one")
    await store.put("key", {"n": 3}, collection="two")
    assert sorted(await store.keys("one")) == ["a", "b"]
    assert len(await store.keys("one", limit=1)) == 1
    assert {"one", "two"} <= set(await store.collections())
    assert await store.destroy_collection("one")
    assert await store.keys("one") == []
    assert await store.get("key", collection="two") == {"n": 3}
    await store.cull()
    assert await store.destroy()
    assert await store.get("key", collection="two") is None


@pytest_asyncio.fixture
async def opened(make_stack: Callable[[], Store]) -> AsyncIterator[Store]:
    """A store over a real backend, bare or under layers."""
    async with make_stack() as store:
        yield store
        await store.destroy()


async def test_the_protocol(opened: Store) -> None:
    await use(opened)


async def test_the_optional_protocols(opened: Store) -> None:
    await enumerate_and_destroy(opened)


async def test_raise_on_missing_and_models(opened: Store) -> None:
    with pytest.raises(KeyNotFound):
        await opened.require("missing")
    typed = opened.typed(dict[str, int])
    await typed.put("key", {"n": 1})
    assert await typed.get("key") == {"n": 1}


@pytest.mark.parametrize("name", OWN)
async def test_the_protocol_over_its_own_stores(name: str) -> None:
    async with OWN[name]() as store:
        await use(store)


@pytest.mark.parametrize("name", ["their store", "their store, layered"])
async def test_the_optional_protocols_over_its_own_store(name: str) -> None:
    async with OWN[name]() as store:
        await enumerate_and_destroy(store)


async def test_its_wrappers_take_a_store_of_kvwrap(opened: Store) -> None:
    await use(PrefixKeysWrapper(opened, prefix="p"))
