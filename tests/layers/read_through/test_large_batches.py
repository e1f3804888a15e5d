"""Large batches give other tasks turns of the event loop, and stay coherent between them."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import MemoryStore, ReadThrough, StoreUnavailable
from kvwrap.core.turns import SLICE
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, counts, over
from tests.turns import turns_during

COUNT = 20 * SLICE
KEYS = [f"key-{number}" for number in range(COUNT)]


async def test_reads_and_writes_of_large_batches_give_turns(far: Far) -> None:
    store = over(far, ttl=30, stale_if_error=30)
    layer = store.find(ReadThrough)
    every_slice = COUNT // SLICE - 1
    assert await turns_during(store.put_many(KEYS, KEYS)) >= 3 * every_slice
    entries = await far.read(None, KEYS)
    assert await turns_during(layer.read(None, KEYS)) >= 10 * every_slice, "misses"
    assert await turns_during(layer.read(None, KEYS)) >= 5 * every_slice, "hits"
    assert await layer.read(None, KEYS) == entries
    assert await turns_during(layer.invalidate(*KEYS)) >= every_slice
    assert len(far.reads) == 2, "one round trip for all keys"
    assert (counts(store).fills, counts(store).near_hits) == (COUNT, 2 * COUNT)


async def test_small_calls_of_stores_that_answer_at_once_give_no_turn(far: Far) -> None:
    layer = over(far, ttl=30).find(ReadThrough)
    await layer.read(None, ["a"])
    await far.put_many(KEYS[:3], [1, 2, 3])
    for keys in (KEYS[:1], KEYS[:3]):
        assert await turns_during(layer.read(None, keys)) == 0, "misses"
        assert await turns_during(layer.read(None, keys)) == 0, "hits"
        assert await turns_during(layer.invalidate(*keys)) == 0


async def test_a_large_batch_that_cannot_be_read_leaves_nothing_in_flight(far: Far) -> None:
    store = over(far)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get_many(KEYS)
    assert store.idle


async def test_large_batches_of_the_same_keys_share_their_reads(
    far: Far, clock: ManualClock
) -> None:
    store = over(far)
    await far.put_many(KEYS, KEYS)
    batches = [asyncio.create_task(store.get_many(keys)) for keys in (KEYS, KEYS[::-1], KEYS[9:])]
    assert await asyncio.gather(*batches) == [KEYS, KEYS[::-1], KEYS[9:]]
    # A key whose copy was filled after a batch had looked for it is read once more.
    assert COUNT <= sum(len(keys) for keys in far.reads) < 1.2 * COUNT
    await clock.settle()
    assert store.idle


@pytest.mark.parametrize("turns", [1, 3, 30])
async def test_a_large_batch_may_be_cancelled_between_its_parts(far: Far, turns: int) -> None:
    store = over(far)
    await far.put_many(KEYS, KEYS)
    for keys in (KEYS, KEYS[::-1]):
        reading = asyncio.create_task(store.find(ReadThrough).read(None, keys))
        for _ in range(turns):
            await asyncio.sleep(0)
        joined = asyncio.create_task(store.get_many([keys[0], keys[-1]]))
        await asyncio.sleep(0)
        reading.cancel()
        assert await joined == [keys[0], keys[-1]]
        await asyncio.wait([reading])
        assert store.idle


@pytest.mark.parametrize("turns", range(0, 80, 7))
async def test_a_cancelled_invalidation_leaves_no_copy_in_use(far: Far, turns: int) -> None:
    near = FailingNear(clock=far.clock)
    store = over(far, near)
    await store.put_many(KEYS, [0] * COUNT)
    await store.get_many(KEYS)
    layer = store.find(ReadThrough)
    await far.put_many(KEYS, [1] * COUNT)  # as a write does before it invalidates the copies
    invalidating = asyncio.create_task(layer.invalidate(*KEYS))
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    invalidating.cancel()
    await asyncio.wait([invalidating])
    assert await store.get_many(KEYS) == [1] * COUNT


async def test_a_change_between_two_parts_of_a_fill_is_not_overwritten(far: Far) -> None:
    store = over(far)
    await far.put_many(KEYS, [0] * COUNT)
    reading = asyncio.create_task(store.get_many(KEYS))
    while len(store.find(ReadThrough).near) == 0:
        await asyncio.sleep(0)
    await store.put(KEYS[-1], 1)
    await reading
    assert [await store.get(KEYS[-1]) for _ in range(2)] == [1, 1]
    assert counts(store).refused_fills == 1


async def test_a_large_near_store_is_looked_up_in_parts(far: Far) -> None:
    near = MemoryStore(clock=far.clock)
    store = over(far, near, negative_ttl=9)
    await store.get_many(KEYS)
    assert len(near) == COUNT
    assert await store.get_many(KEYS) == [None] * COUNT
    assert counts(store).negative_hits == COUNT
