"""Changes of the far store, and the copies that they invalidate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import ReadThrough, StoreUnavailable
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far, counts, over


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
async def test_after_a_change_reads_return_what_the_far_store_has(
    far: Far, change: Any, batch: bool
) -> None:
    store = over(far, negative_ttl=60, stale_if_error=60, refresh_ahead=0.5, ttl=60)
    await store.put_many(["a", "b"], [1, 2])
    await store.get_many(["a", "b", "c"])
    await far.put("a", 5)  # what the near store cannot know
    await change(store)
    keys = ["a", "b"] if batch else ["a"]
    assert await store.ttl_many(keys) == await far.ttl_many(keys)


async def test_a_conditional_write_that_loses_removes_the_outdated_copy(far: Far) -> None:
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


async def test_versions_from_the_near_store_work_for_compare_and_put(far: Far) -> None:
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


async def test_a_failed_write_removes_the_copy(far: Far) -> None:
    store = over(far, ttl=60, stale_if_error=60)
    await store.put("a", 1)
    await store.get("a")
    far.error = StoreUnavailable("the outcome is not known")
    with pytest.raises(StoreUnavailable):
        await store.put("a", 2)
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_a_cancelled_write_removes_the_copy(far: Far, clock: ManualClock) -> None:
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


async def test_collections_are_separate(far: Far) -> None:
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
