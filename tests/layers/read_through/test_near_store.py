"""Near stores of several kinds, and what happens when they fail."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import MemoryStore, NullStore, ReadThrough, SQLiteStore, TTLClamp
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, counts, over, tier_over


@pytest.mark.parametrize(
    ("failing", "failures"),
    [({"read"}, 10), ({"write"}, 10), ({"remove"}, 4), ({"read", "write", "remove"}, 17)],
)
async def test_a_failing_near_store_is_not_noticed(
    far: Far, failing: set[str], failures: int
) -> None:
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
    assert counts(store).near_failures == failures


async def test_copies_that_cannot_be_looked_for_are_taken_to_be_there(far: Far) -> None:
    near = FailingNear(clock=far.clock)
    tier = tier_over(far, near)
    names = {(None, "b"): ((None, "a"),)}
    assert await tier.without_copies(names) == list(names.items())
    near.failing = frozenset({"read"})
    assert await tier.without_copies(names) == []


async def test_a_near_store_that_is_down_at_the_start_does_not_prevent_opening(
    far: Far,
) -> None:
    near = FailingNear(clock=far.clock)
    near.failing = frozenset({"setup"})
    async with over(far, near) as store:
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_invalidating_opens_the_store_as_other_calls_do(far: Far) -> None:
    for keys in (["a"], []):
        near = MemoryStore(clock=far.clock)
        store = over(far, near)
        cache = store.find(ReadThrough)
        await (cache.invalidate(*keys) if keys else cache.clear())
        assert cache.is_open
        assert near.is_open
        await store.close()
        assert not near.is_open


async def test_an_entry_in_the_near_store_that_is_not_a_copy_is_ignored(far: Far) -> None:
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


async def test_a_null_store_as_near_store_never_hits(far: Far) -> None:
    store = over(far, NullStore)
    await store.put("a", 1)
    assert [await store.get("a"), await store.get("a")] == [1, 1]
    assert len(far.reads) == 2


async def test_a_persistent_near_store_serves_the_next_process(
    far: Far, tmp_path: Any, clock: ManualClock
) -> None:
    for _ in range(2):
        near = SQLiteStore(tmp_path / "near.db", clock=clock)
        async with over(far, near, ttl=300) as store:
            if not far.reads:
                await store.put("a", {"n": 1}, ttl=1000.125)
                await store.get("a")
            clock.advance(10)
            value, remaining = await store.ttl("a")
            assert value == {"n": 1}
            assert remaining == pytest.approx(1000.125 - clock.monotonic())
    assert len(far.reads) == 1


async def test_the_near_store_may_have_layers(far: Far) -> None:
    store = over(far, lambda: TTLClamp(maximum=5).over(MemoryStore(clock=far.clock)))
    await store.put("a", [1] * 500)
    await store.get("a")
    assert await store.get("a") == [1] * 500
    assert store.find(TTLClamp)


async def test_cull_reaches_the_near_store_whose_failure_does_no_harm(
    far: Far, clock: ManualClock
) -> None:
    class Near(FailingNear):
        async def sweep(self) -> None:
            self.fail_if_asked("sweep")
            await super().sweep()

    near = Near(clock=clock)
    store = over(far, near, ttl=5)
    await store.put("a", 1)
    await store.get("a")
    clock.advance(5)
    near.failing = frozenset({"sweep"})
    await store.cull()
    assert (len(near), counts(store).near_failures) == (1, 1)
    near.failing = frozenset()
    await store.cull()
    assert (len(near), counts(store).near_failures) == (0, 1)


@pytest.mark.parametrize("offset", [1000, -1000])
async def test_a_copy_expires_by_the_clock_of_the_near_store(
    far: Far, clock: ManualClock, offset: float
) -> None:
    near = MemoryStore(clock=ManualClock(clock.time() + offset))
    store = over(far, near, ttl=30)
    await store.put("a", 1)
    assert [await store.get("a"), await store.get("a")] == [1, 1]
    assert len(far.reads) == 1
    (copy,) = await near.read(None, ["a"])
    assert copy is not None
    assert copy.expires_at == near.clock.time() + 30
