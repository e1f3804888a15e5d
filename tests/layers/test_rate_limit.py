"""The rate at which RateLimit lets operations through."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Passthrough,
    RateLimit,
    RateLimited,
    StackWarning,
    stack,
)
from kvwrap.testing import ManualClock


class Recording(Passthrough):
    """Records when each key was read."""

    def __init__(self):
        self.moments = []

    async def read(self, collection, keys):
        self.moments += [self.clock.monotonic()] * len(keys)
        return await self.inner.read(collection, keys)


def limited(clock, *arguments, **options):
    layers = stack(RateLimit(*arguments, **options), Recording())
    return layers.over(MemoryStore(clock=clock))


def moments(store):
    return [round(moment, 6) for moment in store.find(Recording).moments]


async def start(clock, store, *names):
    tasks = [asyncio.create_task(store.get(name)) for name in names]
    await clock.settle()
    return tasks


async def test_a_burst_goes_at_once_and_then_one_after_another(clock):
    store = limited(clock, 10, burst=3)
    tasks = await start(clock, store, *"abcdef")
    assert moments(store) == [0, 0, 0]
    assert not store.find(RateLimit).idle
    assert not store.idle
    await clock.run(1)
    await asyncio.gather(*tasks)
    assert store.find(RateLimit).idle
    assert store.idle
    assert moments(store) == [0, 0, 0, 0.1, 0.2, 0.3]


async def test_unused_tokens_accumulate_up_to_the_burst(clock):
    store = limited(clock, 10, burst=2)
    await asyncio.gather(*await start(clock, store, "a", "b"))
    clock.advance(100)
    tasks = await start(clock, store, *"abc")
    await clock.run(1)
    await asyncio.gather(*tasks)
    assert moments(store) == [0, 0, 100, 100, 100.1]


async def test_the_default_burst_is_the_number_of_operations(clock):
    store = limited(clock, 5, per=60)
    tasks = await start(clock, store, *"abcdef")
    assert len(moments(store)) == 5
    await clock.run(12)
    await asyncio.gather(*tasks)
    assert moments(store)[5] == 12


async def test_an_operation_that_would_wait_too_long_is_refused_at_once_without_a_token(clock):
    store = limited(clock, 1, burst=1, wait=1.5)
    tasks = await start(clock, store, "a", "b")
    with pytest.raises(RateLimited, match="would have to wait 2 s") as caught:
        await store.get("c", collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "c")
    await clock.run(1)
    tasks += await start(clock, store, "d")
    await clock.run(1)
    await asyncio.gather(*tasks)
    assert moments(store) == [0, 1, 2]


async def test_with_wait_0_nothing_waits(clock):
    store = limited(clock, 1, wait=0)
    await store.get("a")
    with pytest.raises(RateLimited):
        await store.get("a")
    clock.advance(1)
    await store.get("a")


async def test_a_cancelled_operation_returns_its_reservation(clock):
    store = limited(clock, 1, burst=1)
    _, waiting = await start(clock, store, "a", "b")
    waiting.cancel()
    await clock.settle()
    assert store.find(RateLimit).idle
    (late,) = await start(clock, store, "c")
    await clock.run(1)
    await late
    assert moments(store) == [0, 1]


async def test_batches_can_count_as_their_number_of_keys(clock):
    store = limited(clock, 10, burst=5, count_keys=True)
    await store.get_many(list("abcde"))
    task = asyncio.create_task(store.get_many(list("abc")))
    await clock.run(1)
    await task
    assert moments(store) == [0] * 5 + [0.3] * 3
    # A batch larger than the burst goes when the bucket is full, and later operations wait.
    clock.advance(10)
    await store.get_many(list("abcdefghij"))
    tasks = await start(clock, store, "a")
    await clock.run(10)
    await asyncio.gather(*tasks)
    assert moments(store)[8:] == [pytest.approx(11)] * 10 + [pytest.approx(11.6)]


@settings(deadline=None, max_examples=60)
@given(
    rate=st.integers(1, 20),
    burst=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.floats(0, 2), st.integers(1, 6), st.booleans()), min_size=1, max_size=12
    ),
)
async def test_no_period_sees_more_than_its_share(rate, burst, steps):
    clock = ManualClock()
    store = limited(clock, rate, burst=burst)
    tasks = []
    for pause, number, cancels in steps:
        await clock.run(pause)
        tasks += await start(clock, store, *["a"] * number)
        if cancels:
            tasks[len(tasks) // 2].cancel()
    await clock.run(1000)
    await asyncio.gather(*tasks, return_exceptions=True)
    reads = store.find(Recording).moments
    for first, begin in enumerate(reads):
        for last in range(first, len(reads)):
            most = burst + (reads[last] - begin) * rate
            assert last - first + 1 <= most + 1e-6


def test_outside_a_retry_it_is_reported():
    with pytest.warns(StackWarning, match="rate-limit-outside-retry"):
        stack().limit_rate(5).retry().over(MemoryStore())


@pytest.mark.parametrize(
    "options",
    [
        {"operations": 0},
        {"operations": -1},
        {"operations": float("nan")},
        {"operations": "5"},
        {"operations": 5, "per": 0},
        {"operations": 5, "per": float("inf")},
        {"operations": 5, "burst": 0},
        {"operations": 5, "burst": 1.5},
        {"operations": 5, "wait": -1},
    ],
)
def test_invalid_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        RateLimit(**options)
