"""Near copies whose removal the near store has not confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from kvwrap import Capability, MemoryStore, ReadThrough
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import KeyRange
from kvwrap.layers.read_through.invalidations import EVERYTHING, LIMIT, PendingInvalidations
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import (
    FailingNear,
    Far,
    Persistent,
    Shared,
    counts,
    over,
    tier_over,
)


async def test_a_copy_that_could_not_be_removed_is_not_served(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    near.failing = frozenset({"remove", "write"})
    await store.put("a", 3)
    assert [await store.get("a") for _ in range(3)] == [3, 3, 3]
    assert await store.get_many(["a", "b"]) == [3, 2]
    assert far.reads == [("a", "b"), ("a",), ("a",), ("a",), ("a",)]
    near.failing = frozenset()
    assert [await store.get("a") for _ in range(3)] == [3, 3, 3]
    assert far.reads[5:] == [("a",)], "served again after the next fill"


async def test_an_invalidation_is_pending_until_the_copies_must_have_expired(
    far: Far, clock: ManualClock
) -> None:
    near = FailingNear(clock=far.clock)
    near.failing = frozenset({"remove"})
    tier = tier_over(far, near, ttl=30, stale_if_error=20)
    await tier.invalidate(None, ["a"])
    clock.advance(49)
    assert tier.pending.is_pending(None, "a", clock.time())
    assert tier.pending
    clock.advance(1)
    assert not tier.pending.is_pending(None, "a", clock.time())
    assert not tier.pending


async def test_an_outdated_copy_is_not_served_until_it_must_have_expired(
    far: Far, clock: ManualClock
) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near, ttl=30, stale_if_error=20)
    await store.put("a", 1)
    await store.get("a")
    near.failing = frozenset({"remove"})
    await store.put("a", 2)
    clock.advance(50)
    assert [await store.get("a"), await store.get("a")] == [2, 2]
    assert far.reads == [("a",), ("a",)], "the near store serves the second"


async def test_above_the_limit_one_invalidation_of_everything_is_pending(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    near.failing = frozenset({"remove", "drop_all"})
    tier = tier_over(far, near)
    tier.pending = PendingInvalidations(limit=10)
    for number in range(20):
        await tier.invalidate(None, [str(number)])
    assert EVERYTHING in tier.pending
    assert len(tier.pending) <= 11
    near.failing = frozenset()
    await tier.invalidate(None, ["0"])
    assert not tier.pending


async def test_too_many_pending_invalidations_become_one_that_a_later_write_confirms(
    far: Far,
) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    keys = [str(number) for number in range(LIMIT + 10)]
    await store.put_many([*keys, "other"], [*keys, "other"])
    await store.get_many([*keys, "other"])
    near.failing = frozenset({"remove", "drop_all"})
    for key in keys:
        await store.put(key, "new")
    asked = len(far.reads)
    assert await store.get_many(keys) == ["new"] * len(keys)
    assert await store.get("other") == "other"
    assert len(far.reads) == asked + 2, "no copy is served, not even that of an unchanged key"
    near.failing = frozenset()
    await store.put("0", "newer")
    for _ in range(2):
        assert await store.get_many(keys) == ["newer"] + ["new"] * (len(keys) - 1)
    assert len(far.reads) == asked + 3, "copies are served again"


async def test_confirmed_invalidations_cost_no_memory(far: Far, clock: ManualClock) -> None:
    tier = tier_over(far, MemoryStore(clock=clock), ttl=60)
    for number in range(2_000):
        collection = f"collection-{number}"
        await tier.refresh(collection, ["key"]).result()
        await tier.invalidate(collection, ["key"])
        assert not tier.pending
        await tier.invalidate_collection(collection)
        assert not tier.pending
    await tier.invalidate_everything()
    assert not tier.pending
    await clock.settle()
    assert tier.idle


def test_an_invalidation_is_confirmed_only_by_what_it_returned() -> None:
    pending = PendingInvalidations()
    first = pending.add([(None, "a")], 10.0, 0.0)
    second = pending.add([(None, "a"), ("x",)], 10.0, 0.0)
    pending.confirm(first)
    assert pending.is_pending(None, "a", 5.0)
    assert pending.is_pending("x", "any", 5.0)
    assert not pending.is_pending("y", "any", 5.0)
    pending.confirm(second)
    assert not pending


EVERYTHING_CHANGES: dict[str, Callable[[Any], Awaitable[object]]] = {
    "destroy_collection": lambda store: store.destroy_collection(None),
    "delete_where": lambda store: store.delete_where(),
    "destroy": lambda store: store.destroy(),
    "clear": lambda store: store.find(ReadThrough).clear(),
    "invalidate": lambda store: store.find(ReadThrough).invalidate("a", "b"),
}


@pytest.mark.parametrize("change", EVERYTHING_CHANGES)
async def test_copies_that_could_not_be_dropped_are_not_served(far: Far, change: str) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    near.failing = frozenset({"remove", "drop_range", "drop", "drop_all"})
    await EVERYTHING_CHANGES[change](store)
    assert counts(store).near_failures == 1
    near.failing = frozenset()
    await far.put_many(["a", "b"], [3, 4])
    assert await store.get("a") == 3
    assert await store.get_many(["a", "b"]) == [3, 4]


@pytest.mark.parametrize("change", EVERYTHING_CHANGES)
async def test_a_read_from_before_the_change_fills_nothing(clock: ManualClock, change: str) -> None:
    release = asyncio.Event()

    class SlowAnswers(Far):
        async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
            entries = await super().read(collection, keys)
            if not release.is_set():
                await release.wait()
            return entries

    far = SlowAnswers(clock)
    store = over(far)
    await far.put("a", 1)
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    await EVERYTHING_CHANGES[change](store)
    await far.put("a", 2)
    release.set()
    assert await reading == 1
    await clock.settle()
    assert counts(store).refused_fills == 1
    assert counts(store).fills == 0
    assert await store.get("a") == 2


async def test_the_deletion_of_a_range_leaves_the_copies_of_other_keys(far: Far) -> None:
    store = over(far)
    await store.put_many(["a1", "a2", "b"], [1, 2, 3], collection="x")
    await store.put("a1", 4)
    await store.get_many(["a1", "a2", "b"], collection="x")
    await store.get("a1")
    asked = len(far.reads)
    assert await store.delete_where(collection="x", prefix="a") == 2
    assert await store.get("b", collection="x") == 3
    assert await store.get("a1") == 4
    assert len(far.reads) == asked
    assert await store.get_many(["a1", "a2"], collection="x") == [None, None]


@pytest.mark.parametrize("earlier", ["destroy_collection", "destroy"])
async def test_the_deletion_of_a_range_does_not_confirm_one_of_more(far: Far, earlier: str) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    near.failing = frozenset({"drop", "drop_all", "drop_range"})
    await EVERYTHING_CHANGES[earlier](store)
    await far.put_many(["a", "b"], [3, 4])
    near.failing = frozenset({"drop"})
    assert await store.delete_where(prefix="a") == 1
    assert await store.get_many(["a", "b"]) == [None, 4]


async def test_the_deletion_of_a_range_settles_no_earlier_invalidation_of_another_key(
    far: Far,
) -> None:
    near = FailingNear(clock=far.clock)
    tier = tier_over(far, near)
    near.failing = frozenset({"remove"})
    await tier.invalidate("x", ["b"])
    near.failing = frozenset()
    await tier.invalidate_range("x", KeyRange("a"))
    assert list(tier.pending) == [("x", "b")]


async def test_a_near_store_that_lists_no_keys_drops_the_collection(far: Far) -> None:
    class Blind(FailingNear):
        capabilities = MemoryStore.capabilities - {Capability.KEYS, Capability.RANGE}
        failing = frozenset({"drop_range"})

    store = over(far, Blind(clock=far.clock))
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    far.reads.clear()
    assert await store.delete_where(prefix="a") == 1
    assert await store.get_many(["a", "b"]) == [None, 2]
    assert counts(store).near_failures == 0
    assert far.reads == [("a", "b")]


async def test_a_dropped_collection_confirms_no_other(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    await store.put("a", 1, collection="x")
    await store.get("a", collection="x")
    near.failing = frozenset({"remove"})
    await store.put("a", 2, collection="x")
    near.failing = frozenset()
    await store.destroy_collection("y")
    assert await store.get("a", collection="x") == 2


async def test_a_dropped_collection_confirms_its_own_keys(far: Far, clock: ManualClock) -> None:
    near = FailingNear(clock=clock)
    tier = tier_over(far, near)
    near.failing = frozenset({"remove"})
    await tier.invalidate("x", ["a"])
    await tier.invalidate("y", ["a"])
    near.failing = frozenset()
    await tier.invalidate_collection("x")
    assert list(tier.pending) == [("y", "a")]
    await tier.invalidate_everything()
    assert not tier.pending


@pytest.mark.parametrize("kind", [Persistent, Shared])
async def test_copies_of_an_earlier_stack_may_live_longer_than_those_of_this_one(
    far: Far, clock: ManualClock, kind: type[MemoryStore]
) -> None:
    class Kept(FailingNear):
        capabilities = kind.capabilities

    near = Kept(clock=clock)
    earlier = over(far, lambda: near, ttl=1000)
    await far.put("a", 1)
    await earlier.get("a")
    near.release()
    store = over(far, near, ttl=30)
    near.failing = frozenset({"remove"})
    await store.put("a", 2)
    near.failing = frozenset({"write"})
    clock.advance(40)
    assert await store.get("a") == 2
    assert await store.get("a") == 2


def test_above_the_limit_what_is_over_goes_first() -> None:
    pending = PendingInvalidations(limit=2)
    pending.add([(None, "over"), (None, "too")], 5.0, 0.0)
    pending.add([(None, "later")], 9.0, 5.0)
    assert list(pending) == [(None, "later")]
    pending.add([(None, "b"), (None, "c")], 7.0, 5.0)
    assert list(pending) == [EVERYTHING]
    assert pending.is_pending("any", "key", 8.999)
    assert not pending.is_pending("any", "key", 9.0)
