"""One read of the far store per key at a time."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import CorruptEntry, MemoryStore, ReadThrough, StoreUnavailable
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far, counts, over, tier_over


async def test_many_waiting_callers_share_one_read(far: Far) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    waiting = [asyncio.create_task(store.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    far.hold.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert far.reads == [("a",)]
    assert counts(store).joined == 49


async def test_a_batch_joins_and_reads_the_remaining_keys_in_one_call(
    far: Far, clock: ManualClock
) -> None:
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


@pytest.mark.parametrize("keys", [["a"], ["b", "a"]])
async def test_the_first_callers_cancellation_does_not_reach_the_others(
    far: Far, clock: ManualClock, keys: list[str]
) -> None:
    store = over(far)
    await far.put_many(["a", "b"], [1, 2])
    far.hold = asyncio.Event()
    first = asyncio.create_task(store.get_many(keys))
    await clock.settle()
    others = [asyncio.create_task(store.get("a")) for _ in range(20)]
    await clock.settle()
    first.cancel()
    await clock.settle()
    assert first.cancelled()
    assert far.reads == [tuple(keys), ("a",)], "one of the others reads for all of them"
    others[0].cancel()
    await clock.settle()
    assert far.reads == [tuple(keys), ("a",), ("a",)]
    far.hold.set()
    assert await asyncio.gather(*others[1:]) == [1] * 19
    assert (counts(store).misses, counts(store).joined) == (len(keys) + 20, 18)


async def test_a_read_whose_only_caller_was_cancelled_is_given_up(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    only = asyncio.create_task(store.get("a"))
    await clock.settle()
    only.cancel()
    await clock.settle()
    assert only.cancelled()
    assert store.idle
    far.hold.set()
    await clock.settle()
    assert len(store.find(ReadThrough).near) == 0
    assert await store.get("a") == 1
    assert far.reads == [("a",), ("a",)]


async def test_a_caller_that_joined_may_be_cancelled(far: Far, clock: ManualClock) -> None:
    store = over(far)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    first, second, third = (asyncio.create_task(store.get("a")) for _ in range(3))
    await clock.settle()
    second.cancel()
    await clock.settle()
    assert second.cancelled()
    far.hold.set()
    assert [await first, await third] == [1, 1]
    assert far.reads == [("a",)]


async def test_errors_reach_all_waiting_callers_and_are_not_remembered(
    far: Far, clock: ManualClock
) -> None:
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


async def test_an_error_that_no_caller_waits_for_causes_no_warning(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    far.hold, far.error = asyncio.Event(), StoreUnavailable("down")
    only = asyncio.create_task(store.get("a"))
    await clock.settle()
    only.cancel()
    far.hold.set()
    await clock.settle()  # an exception never retrieved would warn, and fail this test
    assert store.find(ReadThrough).idle


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


async def test_closing_ends_the_reads_in_flight(far: Far, clock: ManualClock) -> None:
    store = over(far)
    async with store:
        far.hold = asyncio.Event()
        waiting = asyncio.create_task(store.get("a"))
        await clock.settle()
    with pytest.raises(StoreUnavailable):
        await waiting


async def test_closing_ends_the_read_and_not_the_task_that_waits(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)

    async def read_twice() -> str:
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.get("a")
        await asyncio.sleep(0)  # would raise in a task that is still being cancelled
        task = asyncio.current_task()
        assert task is not None
        return f"{task.cancelling()} cancellations"

    async with store:
        far.hold = asyncio.Event()
        tasks = [asyncio.create_task(read_twice()) for _ in range(3)]
        await clock.settle()
    assert await asyncio.gather(*tasks) == ["0 cancellations"] * 3


async def test_a_task_that_is_cancelled_while_the_store_closes_is_cancelled(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    far.hold = asyncio.Event()
    waiting = asyncio.create_task(store.get("a"))
    await clock.settle()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    waiting.cancel()
    await closing
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_closing_before_the_first_step_leaves_no_caller_waiting(far: Far) -> None:
    tier = tier_over(far, MemoryStore(clock=far.clock))
    flight = tier.refresh(None, ["a"])
    await tier.close()  # before the task has made its first step
    with pytest.raises(StoreUnavailable):
        await flight.result()
    assert tier.in_flight(None, "a") is None
    assert tier.idle


async def test_the_layer_is_idle_unless_it_reads_or_fills(far: Far, clock: ManualClock) -> None:
    near = Far(clock)
    store = over(far, near)
    await far.put("a", 1)
    assert store.idle
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    assert not store.idle
    near.hold = asyncio.Event()
    far.hold.set()
    assert await reading == 1
    assert not store.idle, "the near store has not answered"
    near.hold.set()
    await clock.settle()
    assert store.idle
    near.hold = None
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("b"))
    await clock.settle()
    writing = asyncio.create_task(store.put("b", 2))
    far.hold.set()
    await asyncio.gather(reading, writing)
    await clock.settle()
    assert store.idle
