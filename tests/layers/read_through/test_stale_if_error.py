"""Stale values that are served while the far store is unavailable."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import CorruptEntry, StoreUnavailable
from kvwrap.layers.read_through.cooldown import COOLDOWN
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far, counts, over


async def test_stale_values_are_served_while_the_far_store_is_unavailable(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30, stale_if_error=3600)
    await store.put_many(["a", "b"], [1, 2], ttl=10_000)
    await store.get_many(["a", "b"])
    clock.advance(31)
    far.error = StoreUnavailable("down")
    assert await store.ttl("a") == (1, 9969.0)
    assert await store.get_many(["b", "a"]) == [2, 1]
    asked = len(far.reads)
    clock.advance(COOLDOWN - 0.1)
    assert await store.get_many(["a", "b"]) == [1, 2]
    assert len(far.reads) == asked, "a key that failed is in cooldown"
    clock.advance(0.2)
    assert await store.get("a") == 1
    assert len(far.reads) == asked + 1
    assert counts(store).stale_served == 6
    far.error = None
    await far.put("a", 9)
    clock.advance(COOLDOWN)
    assert await store.get("a") == 9


async def test_stale_values_are_served_no_longer_than_stale_if_error(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30, stale_if_error=60)
    await store.put("a", 1)
    await store.get("a")
    far.error = StoreUnavailable("down")
    clock.advance(89.9)
    assert await store.get("a") == 1
    clock.advance(0.1)
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_only_unavailability_is_covered_by_stale_values(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30, stale_if_error=60)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(31)
    far.error = CorruptEntry("altered")
    with pytest.raises(CorruptEntry):
        await store.get("a")


async def test_a_batch_fails_if_one_key_has_no_stale_value(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30, stale_if_error=60)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(31)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get_many(["a", "b"])


async def test_a_deleted_value_is_not_served_stale(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30, stale_if_error=600)
    await store.put("a", 1)
    await store.get("a")
    await far.delete("a")
    clock.advance(31)
    assert await store.get("a") is None
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_a_stale_value_that_expires_while_the_far_store_fails_is_not_served(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30, stale_if_error=600)
    await store.put("a", 1, ttl=40)
    await store.get("a")
    clock.advance(35)
    far.hold, far.error = asyncio.Event(), StoreUnavailable("down, after a while")
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    clock.advance(5)
    far.hold.set()
    with pytest.raises(StoreUnavailable):
        await reading
