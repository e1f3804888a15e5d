"""Misses that are remembered for `negative_ttl`."""

from __future__ import annotations

import pytest

from kvwrap import StoreUnavailable
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, counts, over


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


async def test_a_miss_that_is_not_remembered_changes_nothing_in_the_near_store(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    near.failing = frozenset({"write", "remove"})
    store = over(far, lambda: near, ttl=60)
    assert await store.get("a") is None
    assert counts(store).near_failures == 0


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


async def test_misses_of_all_collections_at_the_same_moment(far: Far) -> None:
    store = over(far, negative_ttl=5)
    for collection in (None, "x", None, "y"):
        assert await store.get_many(["a", "b"], collection=collection) == [None, None]


async def test_misses_are_remembered_with_stale_values_too(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=60, negative_ttl=5, stale_if_error=60, refresh_ahead=0.5)
    assert [await store.get("a") for _ in range(2)] == [None, None]
    assert far.reads == [("a",)]
    assert counts(store).fills == 1
    clock.advance(4.9)
    assert await store.get("a") is None
    clock.advance(0.1)
    await far.put("a", 1)
    assert await store.get("a") == 1
    assert counts(store).refreshes == 0


async def test_a_remembered_miss_is_not_served_stale(far: Far, clock: ManualClock) -> None:
    store = over(far, negative_ttl=5, stale_if_error=60)
    assert await store.get("a") is None
    clock.advance(5)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get("a")
