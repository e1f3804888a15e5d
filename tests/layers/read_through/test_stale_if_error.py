"""Stale values that are served while the far store is unavailable."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import CorruptEntry, ReadThrough, StoreUnavailable
from kvwrap.layers.read_through.cooldown import COOLDOWN, Cooldown
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


async def test_after_an_outage_writes_are_seen_when_explain_says(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=0.5, stale_if_error=600)
    assert "600 s later while the far store is unavailable, and for up to 30 s after" in (
        store.explain()
    )
    await store.put("a", "old")
    await store.get("a")
    clock.advance(1)
    far.error = StoreUnavailable("down")
    assert await store.get("a") == "old"
    far.error = None
    await far.put("a", "new")
    clock.advance(29.9)
    assert await store.get("a") == "old"
    clock.advance(0.1)
    assert await store.get("a") == "new"
    assert "for up to 5 s after" in over(Far(clock=clock), ttl=1, stale_if_error=5).explain()


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
    for _ in range(2):  # and it begins no cooldown
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


@pytest.mark.parametrize("keys", [["a"], ["a", "b"]])
async def test_a_read_that_succeeds_ends_the_cooldown(
    far: Far, clock: ManualClock, keys: list[str]
) -> None:
    store = over(far, ttl=1, stale_if_error=100)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get_many(keys)
    far.error = None
    for value in (1, 2):
        await far.put_many(keys, [value] * len(keys))
        assert await store.get_many(keys) == [value] * len(keys)
        clock.advance(2)


@pytest.mark.parametrize("change", ["put", "delete", "destroy_collection", "destroy", "clear"])
async def test_a_change_ends_the_cooldown(far: Far, clock: ManualClock, change: str) -> None:
    store = over(far, ttl=1, stale_if_error=100)
    await far.put("a", 1)
    await store.get("a")
    clock.advance(1)
    far.error = StoreUnavailable("down")
    assert await store.get("a") == 1
    far.error = None
    match change:
        case "put":
            await store.put("a", 2)
        case "delete":
            await store.delete("a")
        case "destroy_collection":
            await store.destroy_collection(None)
        case "destroy":
            await store.destroy()
        case "clear":
            await store.find(ReadThrough).clear()
    await far.put("a", 3)
    assert await store.get("a") == 3
    await far.put("a", 4)
    clock.advance(1)
    assert await store.get("a") == 4


def test_a_cooldown_forgets_what_is_over(clock: ManualClock) -> None:
    cooldown = Cooldown(clock)
    cooldown.start([(None, "a"), (None, "b"), (None, "c")])
    clock.advance(COOLDOWN - 1)
    assert (None, "a") in cooldown
    cooldown.start([(None, "c"), (None, "d")])
    assert len(cooldown) == 4
    clock.advance(1)
    assert [(None, key) in cooldown for key in "abcd"] == [False, False, True, True]
    cooldown.start([(None, "e")])
    assert len(cooldown) == 3, "those that are over are removed"
    cooldown.end([(None, "d"), (None, "unknown")])
    assert [(None, key) in cooldown for key in "cde"] == [True, False, True]
    cooldown.clear()
    assert (None, "c") not in cooldown


def test_starting_a_cooldown_does_not_look_at_those_that_continue(clock: ManualClock) -> None:
    looked: list[object] = []

    class Key(str):
        __slots__ = ()

        def __hash__(self) -> int:
            looked.append(self)
            return super().__hash__()

    cooldown = Cooldown(clock)
    cooldown.start([(None, Key(number)) for number in range(20_000)])
    looked.clear()
    cooldown.start([(None, "one more")])
    assert len(looked) <= 2
