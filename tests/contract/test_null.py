"""The guarantees of a store that hold for a store that stores nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kvwrap import (
    InvalidKey,
    InvalidTTL,
    KeyNotFound,
    NullStore,
    SerializationError,
    Store,
    stack,
)
from kvwrap.testing.contract.expiry import INVALID_TTLS
from kvwrap.testing.contract.lifecycle import Lifecycle
from kvwrap.testing.contract.names import INVALID_NAMES
from kvwrap.testing.contract.values import REFUSED


@pytest_asyncio.fixture(params=["bare", "in a stack"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    null = NullStore()
    layers = stack().statistics().prefix_collection("p-")
    async with null if request.param == "bare" else layers.over(null) as store:
        yield store


async def test_accepts_everything_and_stores_nothing(store: Store) -> None:
    await store.put("key", 1, ttl=10)
    await store.put_many(["a", "b"], [1, 2], collection="there")
    assert await store.get("key") is None
    assert await store.get_many(["a", "b"], collection="there") == [None, None]
    assert await store.ttl("key") == (None, None)
    assert await store.ttl_many(["key"]) == [(None, None)]
    assert not await store.exists("key")
    with pytest.raises(KeyNotFound):
        await store.require("key")
    assert not await store.delete("key")
    assert await store.delete_many(["a", "b"]) == 0
    assert await store.pop("key", "default") == "default"
    assert not await store.expire("key", 10)
    assert not await store.move("key", "other")


async def test_is_always_empty(store: Store) -> None:
    await store.put("key", 1, collection="there")
    assert await store.keys("there") == []
    assert [item async for item in store.items(collection="there")] == []
    assert await store.collections() == []
    assert not await store.destroy_collection("there")
    assert not await store.destroy()
    await store.cull()
    await store.check()


async def test_conditional_writes_succeed_if_nothing_was_expected(store: Store) -> None:
    assert await store.put_if_absent("key", 1)
    assert await store.put_if_absent("key", 1)
    assert await store.increment("key", 5, initial=2) == 7
    assert await store.get_versioned("key") is None
    assert not await store.compare_and_put("key", 1, 7)
    assert await store.get_or_put("key", lambda: (1, 2)) == [1, 2]


async def test_refuses_what_other_stores_refuse(store: Store) -> None:
    for ttl in INVALID_TTLS:
        with pytest.raises(InvalidTTL):
            await store.put("key", 1, ttl=ttl)
    for name in INVALID_NAMES:
        with pytest.raises(InvalidKey):
            await store.put(name, 1)
    for make in REFUSED.values():
        with pytest.raises(SerializationError):
            await store.put("key", make())


class TestLifecycle(Lifecycle):
    @pytest.fixture
    def store(self, store: Store) -> Store:
        return store

    async def test_it_closes_when_its_last_user_closes_it(self, store: Store) -> None:
        async with store:
            await store.check()
        await store.check()

    async def test_it_can_be_reopened(self, store: Store) -> None:
        await store.close()
        async with store:
            await store.put("key", 1)
