"""How many operations ConcurrencyLimit lets run, in which order, and that no place is lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Chaos,
    ConcurrencyLimit,
    ConfigurationError,
    MemoryStore,
    Passthrough,
    RateLimited,
    StackWarning,
    stack,
)
from kvwrap.testing import ManualClock


class Taking(Passthrough):
    """Takes a second of the clock for a read, and keeps count."""

    def __init__(self):
        self.at_work = 0
        self.most = 0
        self.order = []

    async def read(self, collection, keys):
        self.order.append(keys[0])
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.clock.sleep(1)
        finally:
            self.at_work -= 1
        return await self.inner.read(collection, keys)


def limited(clock, limit, **options):
    return stack(ConcurrencyLimit(limit, **options), Taking()).over(MemoryStore(clock=clock))


async def test_so_many_run_at_once_and_in_the_order_they_came(clock):
    store = limited(clock, 3)
    names = [str(number) for number in range(10)]
    tasks = [asyncio.create_task(store.get(name)) for name in names]
    await clock.settle()
    layer = store.find(ConcurrencyLimit)
    assert (layer.active, layer.waiting) == (3, 7)
    await clock.run(10)
    await asyncio.gather(*tasks)
    assert store.find(Taking).most == 3
    assert store.find(Taking).order == names
    assert (layer.active, layer.waiting) == (0, 0)


async def test_a_batch_is_one_operation(clock):
    store = limited(clock, 1)
    task = asyncio.create_task(store.get_many(["a", "b", "c"]))
    await clock.run(1)
    assert await task == [None] * 3


async def test_waiting_has_an_end(clock):
    store = limited(clock, 1, wait=0.01)
    first = asyncio.create_task(store.get("a"))
    await clock.settle()
    with pytest.raises(RateLimited) as caught:
        await store.get("b", collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "b")
    await clock.run(1)
    await first
    assert store.find(Taking).order == ["a"]
    assert store.find(ConcurrencyLimit).waiting == 0


async def test_waiting_may_be_not_at_all(clock):
    store = limited(clock, 1, wait=0)
    first = asyncio.create_task(store.get("a"))
    await clock.settle()
    with pytest.raises(RateLimited):
        await store.get("b")
    await clock.run(1)
    await first
    second = asyncio.create_task(store.get("b"))
    await clock.run(1)
    await second


async def test_the_callers_timeout_while_waiting_is_the_callers(clock):
    store = limited(clock, 1, wait=60)
    first = asyncio.create_task(store.get("a"))
    await clock.settle()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await store.get("b")
    assert not isinstance(caught.value, RateLimited)
    await clock.run(1)
    await first


async def test_what_fails_makes_room(clock):
    store = stack(ConcurrencyLimit(1), Chaos(failure_rate=1)).over(MemoryStore(clock=clock))
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await store.get("a")
    assert store.find(ConcurrencyLimit).active == 0


@settings(deadline=None, max_examples=60)
@given(
    limit=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 11), st.sampled_from([0.0, 0.5, 1.0])), max_size=20),
)
async def test_no_place_is_lost_to_cancellation_at_any_moment(limit, steps):
    clock = ManualClock()
    store = limited(clock, limit)
    tasks = [asyncio.create_task(store.get(str(number))) for number in range(12)]
    for number, seconds in steps:
        await clock.run(seconds)
        tasks[number].cancel()
    await clock.run(20)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert store.find(Taking).most <= limit
    layer = store.find(ConcurrencyLimit)
    assert (layer.active, layer.waiting) == (0, 0)
    # All places are there: as many as the limit start at once.
    again = [asyncio.create_task(store.get(str(number))) for number in range(limit)]
    await clock.settle()
    assert store.find(Taking).at_work == limit
    await clock.run(1)
    await asyncio.gather(*again)


def test_outside_a_retry_it_is_a_known_mistake():
    with pytest.warns(StackWarning, match="concurrency-limit-outside-retry"):
        stack().limit_concurrency(5).retry().over(MemoryStore())


@pytest.mark.parametrize(
    ("limit", "wait"),
    [(0, None), (-1, None), (1.5, None), (True, None), (1, -1), (1, float("nan")), (1, "1")],
)
def test_what_cannot_work_is_refused(limit, wait):
    with pytest.raises(ConfigurationError):
        ConcurrencyLimit(limit, wait=wait)
