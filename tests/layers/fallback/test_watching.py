"""What those are told who watch over a fallback, when reads change to the other store and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvwrap import Change, ChangeKind, Chaos, MemoryStore, Store, stack
from kvwrap.core.changes import LOST, Scope
from kvwrap.testing import ManualClock

pytestmark = pytest.mark.asyncio

READS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "get": lambda store: store.get("a"),
    "keys": lambda store: store.keys(),
    "collections": lambda store: store.collections(),
    "count": lambda store: store.count(),
}
MODES: list[dict[str, Any]] = [{}, {"writes": "both"}]


def over_chaos(clock: ManualClock, **mode: Any) -> Store:
    other = MemoryStore(clock=clock)
    layers = stack().fallback(other, open_for=10, **mode).chaos()
    return layers.silence("chaos-over-real-data").over(MemoryStore(clock=clock))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_the_change_to_the_other_store_and_back_is_told(
    clock: ManualClock, mode: dict[str, Any], read: Callable[[Store], Awaitable[Any]]
) -> None:
    async with over_chaos(clock, **mode) as store:
        told: list[Change] = []
        subscription = await store.subscribe(Scope(), told.append)
        await store.put("a", 1)
        before = len(told)
        await read(store)
        assert len(told) == before
        store.find(Chaos).down = True
        for _ in range(5):
            await read(store)
        assert told[before:] == [LOST]
        store.find(Chaos).down = False
        clock.advance(10)
        for _ in range(3):
            await read(store)
        assert told[before:] == [LOST, LOST]
        await subscription.close()
        store.find(Chaos).down = True
        await read(store)
        assert len(told) == before + 2


async def test_who_reads_nothing_is_told_that_the_inner_store_is_back(clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    async with over_chaos(clock) as store:
        told: list[Change] = []
        store.find(Chaos).down = True
        await store.get("a")  # before anybody watches
        subscriptions = [await store.subscribe(Scope(), told.append) for _ in range(2)]
        await clock.run(60)
        assert told == []
        store.find(Chaos).down = False
        await clock.run(60)
        assert told == [LOST, LOST]
        await store.put("a", 1)
        assert await store.get("a") == 1
        assert set(told[2:]) == {Change(ChangeKind.PUT, None, "a")}
        store.find(Chaos).down = True
        await store.get("a")
        for subscription in subscriptions:
            await subscription.close()
            await subscription.close()
        assert asyncio.all_tasks() <= before
