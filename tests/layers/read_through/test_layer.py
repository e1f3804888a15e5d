from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    InvalidTTL,
    Keyring,
    MemoryStore,
    NullStore,
    Passthrough,
    ReadThrough,
    SQLiteStore,
    StackWarning,
    Statistics,
    StoreUnavailable,
    TTLClamp,
    stack,
)
from kvwrap.core.codec import named
from kvwrap.core.entry import Entry
from kvwrap.layers.read_through.cooldown import COOLDOWN
from kvwrap.layers.read_through.copies import Copy, decode
from kvwrap.layers.read_through.invalidations import EVERYTHING, PendingInvalidations
from kvwrap.testing import ManualClock


class Far(MemoryStore):
    """A far store that counts its calls, can be held back, and can be made to fail."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock=clock)
        self.reads: list[tuple[str, ...]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None

    async def _go(self) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        self.reads.append(tuple(keys))
        await self._go()
        return await super().read(collection, keys)

    async def write(self, *args: Any) -> list[bool]:
        await self._go()
        return await super().write(*args)


class FailingNear(MemoryStore):
    """A near store whose named calls fail."""

    failing: frozenset[str] = frozenset()

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise StoreUnavailable("down", store="near")

    async def setup(self) -> None:
        self._fail("setup")

    async def read(self, *args: Any) -> list[Entry | None]:
        self._fail("read")
        return await super().read(*args)

    async def write(self, *args: Any) -> list[bool]:
        self._fail("write")
        return await super().write(*args)

    async def remove(self, *args: Any) -> list[bool]:
        self._fail("remove")
        return await super().remove(*args)

    async def drop_all(self) -> bool:
        self._fail("drop_all")
        return await super().drop_all()


@pytest.fixture
def far(clock: ManualClock) -> Far:
    return Far(clock)


def over(far: Far, near: Any = None, **options: Any) -> Any:
    return ReadThrough(
        (lambda: MemoryStore(clock=far.clock)) if near is None else near, **options
    ).over(far)


def counts(store: Any) -> Any:
    return store.find(ReadThrough).snapshot()


# -- what is read ----------------------------------------------------------------------


async def test_the_second_read_does_not_reach_the_far_store(far: Far) -> None:
    store = over(far)
    await store.put("a", {"n": 1})
    assert await store.get("a") == {"n": 1}
    far.error = StoreUnavailable("must not be asked")
    assert await store.get("a") == {"n": 1}
    assert await store.get_many(["a", "a"]) == [{"n": 1}, {"n": 1}]
    assert far.reads == [("a",)]
    assert (counts(store).near_hits, counts(store).misses) == (2, 1)


async def test_a_copy_is_the_entry_as_the_far_store_gave_it(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", [1, "é"], ttl=1000.25)
    await store.put("b", None)
    direct = await far.read(None, ("a", "b"))
    clock.advance(1.5)
    assert await store.read(None, ("a", "b")) == direct
    clock.advance(1.5)
    far.error = StoreUnavailable("must not be asked")
    assert await store.read(None, ("a", "b")) == direct
    assert await store.read(None, ("a",)) == direct[:1]


async def test_ttl_through_a_near_hit_is_the_far_entrys(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1, ttl=100)
    await store.put("b", 2)
    await store.get_many(["a", "b"])
    clock.advance(20)
    assert await store.ttl_many(["a", "b"]) == [(1, 80.0), (2, None)]
    assert len(far.reads) == 1


async def test_increment_and_move_keep_the_far_end(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1, ttl=100)
    await store.get("a")
    clock.advance(20)
    assert await store.increment("a") == 2
    assert await far.ttl("a") == (2, 80.0)
    await store.get("a")
    await store.move("a", "b")
    assert await far.ttl("b") == (2, 80.0)
    assert await store.get("a") is None


async def test_a_copy_is_used_for_its_ttl_and_no_longer(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1)
    await store.get("a")
    await far.put("a", 2)  # as another process would
    clock.advance(29.9)
    assert await store.get("a") == 1
    clock.advance(0.1)
    assert await store.get("a") == 2


async def test_a_copys_ttl_counts_from_when_the_far_store_was_asked(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    clock.advance(20)
    far.hold.set()
    assert await reading == 1
    await far.put("a", 2)
    clock.advance(10)
    assert await store.get("a") == 2


async def test_a_copy_ends_with_the_entry(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30, stale_if_error=1000)
    await store.put("a", 1, ttl=10)
    clock.advance(8)
    assert await store.get("a") == 1
    clock.advance(2)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert await store.find(ReadThrough).near.read(None, ("a",)) == [None]


@settings(deadline=None)
@given(
    ttl=st.none() | st.floats(1, 100),
    life=st.none() | st.floats(1, 100),
    stale=st.none() | st.floats(1, 100),
    steps=st.lists(st.floats(0, 30), max_size=8),
    jitter=st.sampled_from([0.0, 0.5]),
    ahead=st.none() | st.floats(0.1, 0.9),
)
async def test_never_an_expired_value_and_always_the_true_ttl(
    ttl: Any, life: Any, stale: Any, steps: list[float], jitter: float, ahead: Any
) -> None:
    clock = ManualClock()
    far = Far(clock)
    store = over(far, ttl=ttl, stale_if_error=stale, jitter=jitter, refresh_ahead=ahead)
    await store.put("a", 1, ttl=life)
    for step in steps:
        assert await store.ttl("a") == await far.ttl("a")
        clock.advance(step)
    await store.close()


async def test_the_end_is_what_a_layer_further_in_made_of_it(far: Far, clock: ManualClock) -> None:
    layers = stack(ReadThrough(lambda: MemoryStore(clock=clock), ttl=500), TTLClamp(maximum=60))
    store = layers.over(far)
    await store.put("a", 1)
    assert await store.ttl("a") == (1, 60.0)
    assert await store.ttl("a") == (1, 60.0)
    clock.advance(60)
    assert await store.get("a") is None


async def test_the_near_store_may_go_by_another_clock(far: Far, clock: ManualClock) -> None:
    near_clock = ManualClock(5.0)
    store = over(far, lambda: MemoryStore(clock=near_clock), ttl=30)
    await store.put("a", 1)
    for _ in range(3):
        assert await store.get("a") == 1
    assert len(far.reads) == 1
    clock.advance(30)
    await store.get("a")
    assert len(far.reads) == 2


async def test_jitter_spreads_the_ends(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, jitter=0.5, rng=random.Random(3))
    keys = [str(n) for n in range(200)]
    await store.put_many(keys, keys)
    await store.get_many(keys)
    clock.advance(49.9)
    await store.get_many(keys)
    assert len(far.reads) == 1
    clock.advance(25)
    await store.get_many(keys)
    assert 60 < len(far.reads[1]) < 140
    clock.advance(25.2)
    near = store.find(ReadThrough).near
    assert not any(await near.read(None, keys[:0] + [k for k in keys if k not in far.reads[1]]))


# -- one read of the far store at a time -----------------------------------------------


async def test_one_read_however_many_wait(far: Far) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    waiting = [asyncio.create_task(store.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    far.hold.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert far.reads == [("a",)]
    assert counts(store).joined == 49


async def test_a_batch_joins_and_reads_the_rest_in_one_call(far: Far, clock: ManualClock) -> None:
    store = over(far)
    await far.put_many(list("abcd"), [1, 2, 3, 4])
    await store.get("d")
    far.hold = asyncio.Event()
    single = asyncio.create_task(store.get("b"))
    await clock.settle()
    batch = asyncio.create_task(store.get_many(["c", "b", "a", "c", "d"]))
    await clock.settle()
    late = asyncio.create_task(store.get_many(["a", "b"]))
    await clock.settle()
    far.hold.set()
    assert await single == 2
    assert await batch == [3, 2, 1, 3, 4]
    assert await late == [1, 2]
    assert far.reads == [("d",), ("b",), ("c", "a")]


async def test_the_first_callers_cancellation_does_not_reach_the_others(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    first, second = (asyncio.create_task(store.get("a")) for _ in range(2))
    await clock.settle()
    first.cancel()
    await clock.settle()
    assert first.cancelled()
    far.hold.set()
    assert await second == 1
    assert far.reads == [("a",)]


async def test_a_flight_that_all_have_left_still_fills(far: Far, clock: ManualClock) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    only = asyncio.create_task(store.get("a"))
    await clock.settle()
    only.cancel()
    await clock.settle()
    far.hold.set()
    await clock.settle()
    assert await store.get("a") == 1
    assert counts(store).near_hits == 1


async def test_errors_reach_all_who_wait_and_are_not_kept(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await far.put("a", 1)
    for error in (StoreUnavailable("down"), CorruptEntry("broken"), RuntimeError("a bug")):
        far.hold, far.error = asyncio.Event(), error
        waiting = [asyncio.create_task(store.get("a")) for _ in range(3)]
        await clock.settle()
        far.hold.set()
        assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
    far.hold = far.error = None
    assert await store.get("a") == 1


async def test_an_error_nobody_waits_for_is_not_complained_about(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    far.hold, far.error = asyncio.Event(), StoreUnavailable("down")
    only = asyncio.create_task(store.get("a"))
    await clock.settle()
    only.cancel()
    far.hold.set()
    await clock.settle()  # a complaint would be a warning, and an error here
    assert not store.find(ReadThrough)._tier._tasks


async def test_a_shared_errors_traceback_does_not_grow(far: Far, clock: ManualClock) -> None:
    store = over(far)
    far.hold, far.error = asyncio.Event(), StoreUnavailable("down")
    waiting = [asyncio.create_task(store.get("a")) for _ in range(100)]
    await clock.settle()
    far.hold.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    depth, trace = 0, far.error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 30


async def test_closing_ends_what_is_under_way(far: Far, clock: ManualClock) -> None:
    store = over(far)
    async with store:
        far.hold = asyncio.Event()
        waiting = asyncio.create_task(store.get("a"))
        await clock.settle()
    with pytest.raises(StoreUnavailable):
        await waiting


async def test_closing_at_once_leaves_nobody_waiting(far: Far) -> None:
    store = over(far)
    layer = store.find(ReadThrough)
    flight = layer._tier.start(None, ["a"])
    await layer._tier.close()  # before the task has made its first step
    with pytest.raises(StoreUnavailable):
        await flight.result()
    assert not layer._tier._flights


# -- writes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.put("a", 9),
        lambda s: s.put_many(["a"], [9]),
        lambda s: s.delete("a"),
        lambda s: s.delete_many(["a", "b"]),
        lambda s: s.expire("a", 5),
        lambda s: s.increment("a"),
        lambda s: s.pop("a"),
        lambda s: s.move("b", "a"),
        lambda s: s.destroy_collection(None),
        lambda s: s.destroy(),
        lambda s: s.put_if_absent("a", 9),
        lambda s: s.find(ReadThrough).invalidate("a"),
        lambda s: s.find(ReadThrough).clear(),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
async def test_after_a_change_reads_give_what_the_far_store_has(
    far: Far, change: Any, batch: bool
) -> None:
    store = over(far, negative_ttl=60, stale_if_error=60, refresh_ahead=0.5, ttl=60)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b", "c"])
    await far.put("a", 5)  # what the near store cannot know
    await change(store)
    keys = ["a", "b"] if batch else ["a"]
    assert await store.ttl_many(keys) == await far.ttl_many(keys)


async def test_a_conditional_write_that_loses_drops_the_outdated_copy(far: Far) -> None:
    store = over(far, ttl=60)
    await store.put("a", 1)
    await store.get("a")
    await far.put("a", 2)
    found = await store.get_versioned("a")
    assert found.value == 1
    assert not await store.compare_and_put("a", 3, found.version)
    found = await store.get_versioned("a")
    assert found.value == 2
    assert await store.compare_and_put("a", 3, found.version)
    assert await store.get("a") == 3


async def test_versions_from_the_near_store_are_good_for_compare_and_put(far: Far) -> None:
    store = over(far)
    await store.put("a", 1)
    await store.get("a")
    found = await store.get_versioned("a")
    assert counts(store).near_hits == 1
    assert await store.compare_and_put("a", 2, found.version)


async def test_increments_of_many_tasks_through_a_near_store(far: Far) -> None:
    store = over(far)
    await asyncio.gather(*(store.increment("n") for _ in range(50)))
    assert await store.get("n") == 50


async def test_a_failed_write_drops_the_copy(far: Far) -> None:
    store = over(far, ttl=60, stale_if_error=60)
    await store.put("a", 1)
    await store.get("a")
    far.error = StoreUnavailable("the outcome is not known")
    with pytest.raises(StoreUnavailable):
        await store.put("a", 2)
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_a_cancelled_write_drops_the_copy(far: Far, clock: ManualClock) -> None:
    store = over(far)
    await store.put("a", 1)
    await store.get("a")
    far.hold = asyncio.Event()
    writing = asyncio.create_task(store.put("a", 2))
    await clock.settle()
    writing.cancel()
    await clock.settle()
    far.hold.set()
    await far.put("a", 3)
    assert await store.get("a") == 3


async def test_collections_are_kept_apart(far: Far) -> None:
    store = over(far, negative_ttl=60)
    await store.put("a", 1, collection="x")
    assert await store.get("a", collection="y") is None
    assert await store.get("a") is None
    assert await store.get("a", collection="x") == 1
    await store.put("a", 2, collection="y")
    await store.destroy_collection("x")
    assert await store.get("a", collection="x") is None
    assert await store.get("a", collection="y") == 2


async def test_enumeration_is_the_far_stores(far: Far) -> None:
    store = over(far)
    await far.put_many(["a", "b"], [1, 2])
    await store.get("a")
    assert await store.keys() == ["a", "b"]
    assert [item async for item in store.items()] == [("a", 1), ("b", 2)]


# -- misses ----------------------------------------------------------------------------


async def test_misses_are_remembered_for_their_ttl(far: Far, clock: ManualClock) -> None:
    store = over(far, negative_ttl=5)
    assert await store.get("a") is None
    assert await store.get_many(["a", "b"]) == [None, None]
    assert not await store.exists("a")
    assert far.reads == [("a",), ("b",)]
    assert counts(store).negative_hits == 2
    await far.put("a", 1)
    clock.advance(5)
    assert await store.get("a") == 1


async def test_without_negative_ttl_misses_are_asked_again(far: Far) -> None:
    store = over(far)
    await store.get("a")
    await store.get("a")
    assert far.reads == [("a",), ("a",)]


async def test_a_put_ends_a_remembered_miss(far: Far) -> None:
    store = over(far, negative_ttl=500)
    await store.get_many(["a", "b"])
    await store.put("a", 1)
    assert await store.put_if_absent("b", 2)
    assert await store.get_many(["a", "b"]) == [1, 2]


async def test_none_is_a_value_and_not_a_miss(far: Far) -> None:
    store = over(far, negative_ttl=500)
    await store.put("a", None)
    assert await store.exists("a")
    assert await store.require("a") is None
    assert counts(store).negative_hits == 0


# -- when the far store fails ----------------------------------------------------------


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
    assert len(far.reads) == asked, "a key that failed is left alone for a while"
    clock.advance(0.2)
    assert await store.get("a") == 1
    assert len(far.reads) == asked + 1
    assert counts(store).stale_served == 6
    far.error = None
    await far.put("a", 9)
    clock.advance(COOLDOWN)
    assert await store.get("a") == 9


async def test_stale_values_are_served_no_longer_than_said(far: Far, clock: ManualClock) -> None:
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


async def test_a_stale_value_that_ends_while_the_far_store_fails_is_not_served(
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


# -- renewal ahead ---------------------------------------------------------------------


async def test_a_copy_is_renewed_ahead_and_nobody_waits(far: Far, clock: ManualClock) -> None:
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
    assert len(far.reads) == 2, "one renewal for all"
    far.hold.set()
    await clock.settle()
    assert await store.get("a") == 2
    clock.advance(79)
    assert await store.get("a") == 2
    assert len(far.reads) == 2
    assert counts(store).refreshes == 1


async def test_a_batch_is_renewed_in_one_call(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b"])
    clock.advance(60)
    await store.get_many(["a", "b", "c"])
    await clock.settle()
    assert far.reads == [("a", "b"), ("a", "b"), ("c",)]


async def test_a_failed_renewal_is_not_seen_and_not_repeated_at_once(
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


async def test_a_renewal_that_finds_nothing_removes_the_copy(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    await far.delete("a")
    clock.advance(50)
    assert await store.get("a") == 1
    await clock.settle()
    assert await store.get("a") is None


async def test_a_write_during_a_renewal_stays(far: Far, clock: ManualClock) -> None:
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


async def test_an_entry_near_its_own_end_is_looked_at_once(far: Far, clock: ManualClock) -> None:
    store = over(far, refresh_ahead=0.5)
    await store.put("a", 1, ttl=100)
    await store.get("a")
    for _ in range(98):
        clock.advance(1)
        assert await store.get("a") == 1
        await clock.settle()
    assert len(far.reads) == 2


# -- when the near store fails ---------------------------------------------------------


@pytest.mark.parametrize("failing", [{"read"}, {"write"}, {"remove"}, {"read", "write", "remove"}])
async def test_a_failing_near_store_is_not_noticed(far: Far, failing: set[str]) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near, negative_ttl=60, ttl=60)
    near.failing = frozenset(failing)
    for value in range(3):
        await store.put("a", value)
        assert await store.get("a") == value
        assert await store.get_many(["a", "b"]) == [value, None]
        assert await store.get("a") == value
    assert await store.delete("a")
    assert await store.get("a") is None
    assert counts(store).near_failures > 0


async def test_a_copy_that_could_not_be_removed_is_not_believed(far: Far) -> None:
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
    assert far.reads[5:] == [("a",)], "believed again after the next fill"


async def test_doubts_end_when_the_copies_must_have_ended(far: Far, clock: ManualClock) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near, ttl=30, stale_if_error=20)
    await store.put("a", 1)
    await store.get("a")
    near.failing = frozenset({"remove"})
    await store.put("a", 2)
    clock.advance(50)
    layer = store.find(ReadThrough)
    assert await store.get("a") == 2
    assert not layer._tier.doubts


async def test_too_many_doubts_become_one_that_a_later_write_settles(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    doubts = store.find(ReadThrough)._tier.doubts
    doubts._most = 10
    keys = [str(n) for n in range(20)]
    await store.put_many(keys, keys)
    await store.get_many(keys)
    near.failing = frozenset({"remove", "drop_all"})
    for key in keys:
        await store.put(key, "new")
    assert EVERYTHING in doubts
    assert len(doubts) <= 11
    assert await store.get_many(keys) == ["new"] * 20
    near.failing = frozenset()
    await store.put("0", "newer")
    assert not doubts
    assert await store.get_many(keys) == ["newer"] + ["new"] * 19


def test_doubts_are_settled_only_by_what_is_about_them() -> None:
    doubts = PendingInvalidations()
    first = doubts.add([(None, "a")], 10.0, 0.0)
    second = doubts.add([(None, "a"), ("x",)], 10.0, 0.0)
    doubts.settle(first)
    assert doubts.is_pending(None, "a", 5.0)
    assert doubts.is_pending("x", "any", 5.0)
    assert not doubts.is_pending("y", "any", 5.0)
    doubts.settle(second)
    assert not doubts


async def test_a_near_store_that_is_down_at_the_start_does_not_keep_the_stack_shut(
    far: Far,
) -> None:
    near = FailingNear(clock=far.clock)
    near.failing = frozenset({"setup"})
    async with over(far, near) as store:
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_what_is_no_copy_in_the_near_store_is_passed_by(far: Far) -> None:
    near = MemoryStore(clock=far.clock)
    await near.put_many(["a", "b"], ["foreign", "foreign"])
    store = over(far, near)
    await far.put("a", 1)
    assert await store.get("a") == 1
    assert await store.get_many(["a", "b"]) == [1, None]


async def test_a_value_too_large_for_the_near_store_is_read_from_the_far_one(far: Far) -> None:
    store = over(far, MemoryStore(max_bytes=100, clock=far.clock))
    await store.put("a", "x" * 1000)
    for _ in range(2):
        assert await store.get("a") == "x" * 1000
    assert counts(store).near_failures == 2


async def test_a_tier_of_a_null_store_is_no_tier(far: Far) -> None:
    store = over(far, NullStore)
    await store.put("a", 1)
    assert [await store.get("a"), await store.get("a")] == [1, 1]
    assert len(far.reads) == 2


# -- the near store --------------------------------------------------------------------


async def test_a_near_store_that_is_kept_serves_the_next_process(
    far: Far, tmp_path: Any, clock: ManualClock
) -> None:
    for _ in range(2):
        near = SQLiteStore(tmp_path / "near.db", clock=clock)
        async with over(far, near, ttl=300) as store:
            if not far.reads:
                await store.put("a", {"n": 1}, ttl=1000.125)
                await store.get("a")
            clock.advance(10)
            value, left = await store.ttl("a")
            assert value == {"n": 1}
            assert left == pytest.approx(1000.125 - (clock.monotonic()))
    assert len(far.reads) == 1


async def test_the_near_store_may_have_layers(far: Far) -> None:
    store = over(far, lambda: TTLClamp(maximum=5).over(MemoryStore(clock=far.clock)))
    await store.put("a", [1] * 500)
    await store.get("a")
    assert await store.get("a") == [1] * 500
    assert store.find(TTLClamp)


def test_a_copy_survives_its_form() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.5, None, 7)
    for copy in (Copy(entry, 2.25, 3.5), Copy(entry.with_expiry(9.125), 2.0, 3.0)):
        assert decode(copy.encode(4.0)) == copy
    assert decode(Copy(None, 2.0, 2.0).encode(4.0)) == Copy(None, 2.0, 2.0)
    assert decode(entry) is None
    assert decode(Entry(b"", b"\x01" * 40, 0.0, None, 1)) is None
    assert (
        named(Copy(entry, 1.0, 1.0).encode(None).codec) == "a cache's near copy over zstd over JSON"
    )


async def test_hits_and_misses_of_each_tier(far: Far) -> None:
    tiers = stack().read_through(lambda: MemoryStore(clock=far.clock), ttl=1)
    tiers = tiers.statistics(name="far").silence("statistics-inside-cache")
    store = tiers.over(far)
    await store.put("a", 1)
    for _ in range(4):
        await store.get("a")
    assert counts(store).hit_rate == 0.75
    assert store.find(Statistics)


async def test_a_snapshot_does_not_change(far: Far) -> None:
    store = over(far)
    before = counts(store)
    await store.get("a")
    assert (before.misses, counts(store).misses) == (0, 1)
    assert before.hit_rate == 0.0


async def test_a_renewed_copy_is_kept_for_its_new_life(far: Far, clock: ManualClock) -> None:
    near = MemoryStore(clock=clock)
    store = over(far, near, ttl=100, refresh_ahead=0.5)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(60)
    await store.get("a")
    await clock.settle()  # renewed, with the same entry
    clock.advance(45)
    await store.cull()
    far.error = StoreUnavailable("must not be asked")
    assert await store.get("a") == 1


async def test_misses_of_all_collections_at_the_same_moment(far: Far) -> None:
    store = over(far, negative_ttl=5)
    for collection in (None, "x", None, "y"):
        assert await store.get_many(["a", "b"], collection=collection) == [None, None]


# -- building --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, InvalidTTL),
        ({"ttl": float("nan")}, InvalidTTL),
        ({"negative_ttl": -1}, InvalidTTL),
        ({"stale_if_error": "5"}, InvalidTTL),
        ({"refresh_ahead": 0}, ConfigurationError),
        ({"refresh_ahead": 1}, ConfigurationError),
        ({"jitter": 1}, ConfigurationError),
        ({"jitter": -0.1}, ConfigurationError),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ReadThrough(MemoryStore, **options)


def test_a_near_store_serves_one_stack(far: Far) -> None:
    near = MemoryStore()
    over(far, near)
    with pytest.raises(ConfigurationError, match="factory"):
        over(Far(), near)


class Shared(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.SHARED, Capability.PERSISTENT}


class Kept(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


class Marked(Passthrough):
    """A layer that has one trait."""

    def __init__(self, trait: str) -> None:
        self.trait = trait

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]  # one per instance, here
        return frozenset({self.trait})


NEAR = ReadThrough(MemoryStore, ttl=5)
KEPT = ReadThrough(Kept, ttl=5)
ENCRYPTS, RETRIES = Marked("encrypts"), Marked("retries")
SEALED = ReadThrough(lambda: ENCRYPTS.over(Kept()), ttl=5)


@pytest.mark.parametrize(
    ("code", "wrong", "right"),
    [
        ("plaintext-near", stack(KEPT, ENCRYPTS), stack(ENCRYPTS, KEPT)),
        ("plaintext-near", stack(KEPT, ENCRYPTS), stack(NEAR, ENCRYPTS)),
        ("plaintext-near", stack(KEPT, ENCRYPTS), stack(SEALED, ENCRYPTS)),
        ("near-without-ttl", stack(ReadThrough(MemoryStore)), stack(NEAR)),
        ("near-not-nearer", stack(ReadThrough(Shared, ttl=5)), stack(NEAR)),
        ("cached-twice", stack(NEAR, NEAR), stack(NEAR, KEPT)),
        ("retry-outside-cache", stack(RETRIES, NEAR), stack(NEAR, RETRIES)),
    ],
)
def test_findings(code: str, wrong: Any, right: Any) -> None:
    with pytest.warns(StackWarning, match=f"^{code}:"):
        store = wrong.over(Shared())
    assert [finding.code for finding in store.findings] == [code]
    assert code in store.explain()
    assert not right.over(Shared()).findings
    assert not wrong.silence(code).over(Shared()).findings


def test_explain_states_the_bound() -> None:
    shared = stack().read_through(MemoryStore, ttl=30, negative_ttl=5, stale_if_error=60)
    text = shared.over(Shared()).explain()
    assert "another process's write is seen after at most 30 s" in text
    assert "60 s later while the far store is unavailable" in text
    assert "seen at once" in stack().read_through(MemoryStore).over(MemoryStore()).explain()


@pytest.mark.parametrize(
    "inside", [stack(), stack().encrypt(Keyring({"k": b"k" * 32}))], ids=["bare", "encrypted"]
)
async def test_the_near_store_can_be_looked_into(inside: Any) -> None:
    clock = ManualClock()
    near, far = inside.over(MemoryStore(clock=clock)), MemoryStore(clock=clock)
    store = stack().read_through(near, ttl=30, negative_ttl=5).over(far)
    await far.put("short", {"n": 1}, ttl=10)
    await far.put("long", {"n": 2}, ttl=1000, collection="there")
    assert await store.get_many(["short", "missing"]) == [{"n": 1}, None]
    assert await store.get("long", collection="there") == {"n": 2}
    assert await near.ttl("short") == ({"n": 1}, pytest.approx(10))
    assert await near.ttl("long", collection="there") == ({"n": 2}, pytest.approx(30))
    assert await near.ttl("missing") == (None, pytest.approx(5))
    assert sorted([item async for item in near.items()]) == [("missing", None), ("short", {"n": 1})]
