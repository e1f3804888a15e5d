"""Copies that are refreshed before they expire."""

from __future__ import annotations

import asyncio

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.layers.read_through.cooldown import COOLDOWN
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, counts, over


async def test_a_copy_is_refreshed_ahead_and_no_caller_waits(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.8)
    await store.put("a", 1)
    await store.get("a")
    await far.put("a", 2)
    clock.advance(79.9)
    assert await store.get("a") == 1
    await clock.settle()
    assert len(far.reads) == 1
    clock.advance(0.1)
    far.hold = asyncio.Event()
    assert await store.get("a") == 1
    assert await store.get_many(["a", "a"]) == [1, 1]
    await clock.settle()
    assert len(far.reads) == 2, "one refresh for all"
    far.hold.set()
    await clock.settle()
    assert await store.get("a") == 2
    clock.advance(79)
    assert await store.get("a") == 2
    assert len(far.reads) == 2
    assert counts(store).refreshes == 1


async def test_a_batch_is_refreshed_in_one_call(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    clock.advance(60)
    await store.get_many(["a", "b", "c"])
    await clock.settle()
    assert far.reads == [("a", "b"), ("c",), ("a", "b")]


async def test_a_failed_refresh_is_not_seen_and_not_repeated_at_once(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(50)
    far.error = StoreUnavailable("down")
    for _ in range(5):
        assert await store.get("a") == 1
        await clock.settle()
    assert len(far.reads) == 2
    clock.advance(COOLDOWN)
    assert await store.get("a") == 1
    await clock.settle()
    assert len(far.reads) == 3


async def test_a_refresh_that_finds_no_entry_removes_the_copy(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    await far.delete("a")
    clock.advance(50)
    assert await store.get("a") == 1
    await clock.settle()
    assert await store.get("a") is None


async def test_a_refresh_that_finds_no_entry_puts_nothing(far: Far, clock: ManualClock) -> None:
    near = FailingNear(clock=clock)
    store = over(far, near, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    await far.delete("a")
    near.failing = frozenset({"write"})
    clock.advance(50)
    assert await store.get("a") == 1
    await clock.settle()
    assert await near.keys() == []
    assert counts(store).near_failures == 0


async def test_a_write_during_a_refresh_remains(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(50)
    far.hold = asyncio.Event()
    await store.get("a")
    await clock.settle()
    writing = asyncio.create_task(store.put("a", 2))
    await clock.settle()
    far.hold.set()
    await writing
    await clock.settle()
    assert await store.get("a") == 2


async def test_an_entry_close_to_its_own_expiry_is_refreshed_once(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, refresh_ahead=0.5)
    await store.put("a", 1, ttl=100)
    await store.get("a")
    for _ in range(98):
        clock.advance(1)
        assert await store.get("a") == 1
        await clock.settle()
    assert len(far.reads) == 2


async def test_a_refreshed_copy_is_kept_for_its_new_life(far: Far, clock: ManualClock) -> None:
    near = MemoryStore(clock=clock)
    store = over(far, near, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(60)
    await store.get("a")
    await clock.settle()  # refreshed, with the same entry
    clock.advance(45)
    await store.cull()
    far.error = StoreUnavailable("must not be asked")
    assert await store.get("a") == 1
