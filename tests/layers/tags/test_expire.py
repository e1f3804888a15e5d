"""Tags that are expired: their entries are kept for calls with `stale_ttl`."""

from __future__ import annotations

import pytest

from kvwrap import Store, Tags
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import tagged


def fail() -> object:
    raise ValueError("no value")


async def filled(clock: ManualClock) -> Store:
    store = tagged(clock)
    await store.get_or_put("a", lambda: "old", ttl=100, stale_ttl=50, tags=["t"])
    await store.get_or_put("b", lambda: "old", ttl=100, tags=["t"])
    await store.put("c", "old", tags=["t"])
    return store


async def test_they_are_missing_and_computed_again(clock: ManualClock) -> None:
    store = await filled(clock)
    await store.find(Tags).expire("t")
    assert await store.get_many(["a", "b", "c"]) == [None, None, None]
    assert await store.keys() == []
    assert await store.get_or_put("a", lambda: "new", ttl=100, stale_ttl=50, tags=["t"]) == "new"
    assert await store.get("a") == "new"


async def test_a_failing_factory_gets_the_old_value_for_the_stale_ttl(clock: ManualClock) -> None:
    store = await filled(clock)
    clock.advance(10)
    await store.find(Tags).expire("t")
    clock.advance(49)
    assert await store.get_or_put("a", fail, ttl=100, stale_ttl=50) == "old"
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("a", fail)
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("b", fail, ttl=100, stale_ttl=50)
    clock.advance(2)
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("a", fail, ttl=100, stale_ttl=50)


async def test_nothing_is_kept_for_longer_than_without_it(clock: ManualClock) -> None:
    store = await filled(clock)
    clock.advance(140)  # stale by its own ttl, and kept for 10 seconds more
    await store.find(Tags).expire("t")
    assert await store.get_or_put("a", fail, ttl=100, stale_ttl=50) == "old"
    clock.advance(11)
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("a", fail, ttl=100, stale_ttl=50)


async def test_an_invalidation_ends_what_was_expired(clock: ManualClock) -> None:
    store = await filled(clock)
    await store.find(Tags).expire("t", "unknown")
    await store.find(Tags).invalidate("t")
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("a", fail, ttl=100, stale_ttl=50)


async def test_an_expired_tag_that_was_invalidated_stays_so(clock: ManualClock) -> None:
    store = await filled(clock)
    await store.find(Tags).invalidate("t")
    await store.find(Tags).expire("t")
    with pytest.raises(ValueError, match="no value"):
        await store.get_or_put("a", fail, ttl=100, stale_ttl=50)
