"""Near copies whose removal the near store has not confirmed."""

from __future__ import annotations

from kvwrap import MemoryStore
from kvwrap.layers.read_through.invalidations import EVERYTHING, LIMIT, PendingInvalidations
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, over, tier_over


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
        await tier.start(collection, ["key"]).result()
        await tier.invalidate(collection, ["key"])
        assert not tier.pending
        await tier.invalidate_collection(collection)
        assert not tier.pending
    await tier.invalidate_everything()
    assert not tier.pending
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
