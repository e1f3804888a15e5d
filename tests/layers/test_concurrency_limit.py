"""ConcurrencyLimit: number and order of operations, and that no place is lost."""

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


class Slow(Passthrough):
    """Takes a second of the clock for a read, and counts the reads in progress."""

    def __init__(self):
        self.running = 0
        self.most = 0
        self.order = []

    async def read(self, collection, keys):
        self.order.append(keys[0])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.clock.sleep(1)
        finally:
            self.running -= 1
        return await self.inner.read(collection, keys)


def limited(clock, limit, **options):
    return stack(ConcurrencyLimit(limit, **options), Slow()).over(MemoryStore(clock=clock))


async def test_as_many_as_the_limit_run_at_once_in_order_of_arrival(clock):
    store = limited(clock, 3)
    names = [str(number) for number in range(10)]
    tasks = [asyncio.create_task(store.get(name)) for name in names]
    await clock.settle()
    layer = store.find(ConcurrencyLimit)
    assert (layer.active, layer.waiting) == (3, 7)
    assert not layer.idle
    assert not store.idle
    await clock.run(10)
    await asyncio.gather(*tasks)
    assert store.find(Slow).most == 3
    assert store.find(Slow).order == names
    assert (layer.active, layer.waiting) == (0, 0)
    assert layer.idle
    assert store.idle


async def test_a_batch_is_one_operation(clock):
    store = limited(clock, 1)
    task = asyncio.create_task(store.get_many(["a", "b", "c"]))
    await clock.run(1)
    assert await task == [None] * 3


async def test_an_operation_that_waits_too_long_is_refused(clock):
    store = limited(clock, 1, wait=0.01)
    first = asyncio.create_task(store.get("a"))
    await clock.settle()
    with pytest.raises(RateLimited) as caught:
        await store.get("b", collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "b")
    await clock.run(1)
    await first
    assert store.find(Slow).order == ["a"]
    assert store.find(ConcurrencyLimit).waiting == 0


async def test_with_wait_0_nothing_waits(clock):
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


async def test_a_timeout_of_the_caller_while_waiting_stays_a_plain_timeout_error(clock):
    store = limited(clock, 1, wait=60)
    first = asyncio.create_task(store.get("a"))
    await clock.settle()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await store.get("b")
    assert not isinstance(caught.value, RateLimited)
    await clock.run(1)
    await first


async def test_an_operation_that_fails_frees_its_place(clock):
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
    assert store.find(Slow).most <= limit
    layer = store.find(ConcurrencyLimit)
    assert (layer.active, layer.waiting) == (0, 0)
    # No place is lost: as many operations as the limit start at once.
    again = [asyncio.create_task(store.get(str(number))) for number in range(limit)]
    await clock.settle()
    assert store.find(Slow).running == limit
    await clock.run(1)
    await asyncio.gather(*again)


def test_outside_a_retry_it_is_reported():
    with pytest.warns(StackWarning, match="concurrency-limit-outside-retry"):
        stack().limit_concurrency(5).retry().over(MemoryStore())


@pytest.mark.parametrize(
    ("limit", "wait"),
    [(0, None), (-1, None), (1.5, None), (True, None), (1, -1), (1, float("nan")), (1, "1")],
)
def test_invalid_arguments_are_refused(limit, wait):
    with pytest.raises(ConfigurationError):
        ConcurrencyLimit(limit, wait=wait)
