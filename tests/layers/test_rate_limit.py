"""How fast RateLimit lets operations through."""

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


class Noting(Passthrough):
    def __init__(self):
        self.moments = []

    async def read(self, collection, keys):
        self.moments += [self.clock.monotonic()] * len(keys)
        return await self.inner.read(collection, keys)


def limited(clock, *arguments, **options):
    layers = stack(RateLimit(*arguments, **options), Noting())
    return layers.over(MemoryStore(clock=clock))


def moments(store):
    return [round(moment, 6) for moment in store.find(Noting).moments]


async def start(clock, store, *names):
    tasks = [asyncio.create_task(store.get(name)) for name in names]
    await clock.settle()
    return tasks


async def test_a_burst_goes_at_once_and_then_one_after_another(clock):
    store = limited(clock, 10, burst=3)
    tasks = await start(clock, store, *"abcdef")
    assert moments(store) == [0, 0, 0]
    await clock.run(1)
    await asyncio.gather(*tasks)
    assert moments(store) == [0, 0, 0, 0.1, 0.2, 0.3]


async def test_what_was_not_used_is_kept_up_to_the_burst(clock):
    store = limited(clock, 10, burst=2)
    await asyncio.gather(*await start(clock, store, "a", "b"))
    clock.advance(100)
    tasks = await start(clock, store, *"abc")
    await clock.run(1)
    await asyncio.gather(*tasks)
    assert moments(store) == [0, 0, 100, 100, 100.1]


async def test_the_burst_is_the_number_of_operations_if_left_out(clock):
    store = limited(clock, 5, per=60)
    tasks = await start(clock, store, *"abcdef")
    assert len(moments(store)) == 5
    await clock.run(12)
    await asyncio.gather(*tasks)
    assert moments(store)[5] == 12


async def test_who_would_wait_too_long_is_refused_at_once_and_costs_nothing(clock):
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


async def test_no_waiting_at_all(clock):
    store = limited(clock, 1, wait=0)
    await store.get("a")
    with pytest.raises(RateLimited):
        await store.get("a")
    clock.advance(1)
    await store.get("a")


async def test_a_cancelled_waiter_gives_its_turn_to_the_next(clock):
    store = limited(clock, 1, burst=1)
    _, waiting = await start(clock, store, "a", "b")
    waiting.cancel()
    await clock.settle()
    (late,) = await start(clock, store, "c")
    await clock.run(1)
    await late
    assert moments(store) == [0, 1]


async def test_batches_may_count_as_their_keys(clock):
    store = limited(clock, 10, burst=5, count_keys=True)
    await store.get_many(list("abcde"))
    task = asyncio.create_task(store.get_many(list("abc")))
    await clock.run(1)
    await task
    assert moments(store) == [0] * 5 + [0.3] * 3
    # One over the burst goes when the bucket is full, and those after it pay for it.
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
async def test_no_span_of_time_sees_more_than_its_due(rate, burst, steps):
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
    went = store.find(Noting).moments
    for first, begin in enumerate(went):
        for last in range(first, len(went)):
            due = burst + (went[last] - begin) * rate
            assert last - first + 1 <= due + 1e-6


def test_outside_a_retry_it_is_a_known_mistake():
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
def test_what_cannot_work_is_refused(options):
    with pytest.raises(ConfigurationError):
        RateLimit(**options)
