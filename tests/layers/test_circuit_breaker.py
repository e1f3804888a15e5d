"""When CircuitBreaker opens, which calls it rejects, and what closes it again."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import (
    Chaos,
    CircuitBreaker,
    CircuitOpen,
    ConfigurationError,
    CorruptEntry,
    MemoryStore,
    Passthrough,
    RateLimited,
    StackWarning,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)


@pytest.fixture
def store(clock):
    return stack().circuit_breaker(3, open_for=30).chaos().over(MemoryStore(clock=clock))


async def fail(store, times=1):
    store.find(Chaos).down = True
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            await store.get("a")
    store.find(Chaos).down = False


def state(store):
    return store.find(CircuitBreaker).state.value


async def test_consecutive_failures_open_it_and_then_nothing_reaches_the_backend(store):
    await fail(store, 3)
    assert state(store) == "open"
    calls = store.find(Chaos).calls
    with pytest.raises(CircuitOpen) as caught:
        await store.get("a", collection="c")
    assert store.find(Chaos).calls == calls
    error = caught.value
    assert (error.store, error.collection, error.key) == ("CircuitBreaker", "c", "a")
    assert "tried again in 30 s" in str(error)
    assert store.find(CircuitBreaker).opened == 1


async def test_a_success_between_failures_keeps_it_closed(store):
    await fail(store, 2)
    await store.get("a")
    await fail(store, 2)
    assert state(store) == "closed"


async def test_after_open_for_one_success_closes_it(store, clock):
    await fail(store, 3)
    clock.advance(29.9)
    with pytest.raises(CircuitOpen):
        await store.get("a")
    clock.advance(0.1)
    assert await store.get("a") is None
    assert state(store) == "closed"
    await fail(store, 2)
    assert state(store) == "closed"


async def test_a_probe_that_fails_opens_it_for_open_for_again(store, clock):
    await fail(store, 3)
    clock.advance(30)
    await fail(store)
    assert state(store) == "open"
    clock.advance(29)
    with pytest.raises(CircuitOpen):
        await store.get("a")
    clock.advance(1)
    await store.get("a")
    assert state(store) == "closed"


async def slow_probe(store, clock):
    """Open the breaker, wait until it is half-open, and return the probe in flight."""
    await fail(store, 3)
    clock.advance(30)
    store.find(Slow).hold = True
    task = asyncio.create_task(store.get("a"))
    await clock.settle()
    store.find(Slow).hold = False
    assert state(store) == "half_open"
    return task


class Slow(Passthrough):
    def __init__(self):
        self.hold = False

    async def read(self, collection, keys):
        if self.hold:
            await self.clock.sleep(10)
        return await self.inner.read(collection, keys)


@pytest.fixture
def slow(clock):
    layers = stack().circuit_breaker(3, open_for=30).layer(Slow()).chaos()
    return layers.over(MemoryStore(clock=clock))


async def test_a_single_probe_goes_and_others_are_rejected(slow, clock):
    probe = await slow_probe(slow, clock)
    for _ in range(3):
        with pytest.raises(CircuitOpen, match="probe"):
            await slow.get("b")
    await clock.run(10)
    await probe
    assert state(slow) == "closed"
    assert await slow.get("b") is None


async def test_after_a_cancelled_probe_the_next_call_is_the_probe(slow, clock):
    probe = await slow_probe(slow, clock)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await slow.get("b") is None
    assert state(slow) == "closed"


async def test_after_a_probe_that_says_nothing_about_the_backend_the_next_call_is_the_probe(clock):
    class Bad(Passthrough):
        async def write(self, *arguments):
            raise ValueTooLarge("no")

    layers = stack().circuit_breaker(3, open_for=30).layer(Bad()).chaos()
    store = layers.over(MemoryStore(clock=clock))
    await fail(store, 3)
    clock.advance(30)
    with pytest.raises(ValueTooLarge):
        await store.put("a", 1)
    assert await store.get("a") is None
    assert state(store) == "closed"


async def test_a_call_in_flight_when_it_opened_does_not_close_it(slow, clock):
    slow.find(Slow).hold = True
    old = asyncio.create_task(slow.get("a"))
    await clock.settle()
    slow.find(Slow).hold = False
    await fail(slow, 3)
    await clock.run(10)
    await old
    assert state(slow) == "open"


async def test_a_success_does_not_outdate_the_calls_in_flight(slow, clock):
    slow.find(Slow).hold = True
    late = [asyncio.create_task(slow.get("a")) for _ in range(3)]
    await clock.settle()
    slow.find(Slow).hold = False
    assert await slow.get("b") is None
    slow.find(Chaos).down = True
    await clock.run(10)
    for call in late:
        with pytest.raises(StoreUnavailable):
            await call
    assert state(slow) == "open"


@pytest.mark.parametrize(
    "kind", [CorruptEntry, ValueTooLarge, RateLimited, CircuitOpen, StoreFull, RuntimeError]
)
async def test_errors_that_are_not_failures_of_the_backend_do_not_count(clock, kind):
    layers = stack().circuit_breaker(1).chaos(failure_rate=1, errors=kind)
    store = layers.over(MemoryStore(clock=clock))
    for _ in range(3):
        with pytest.raises(kind):
            await store.get("a")
    assert state(store) == "closed"


async def test_the_errors_that_count_can_be_chosen(clock):
    layers = (
        stack().circuit_breaker(1, on=StoreTimeout).chaos(failure_rate=1, errors=StoreUnavailable)
    )
    store = layers.over(MemoryStore(clock=clock))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert state(store) == "closed"
    layers = stack().circuit_breaker(1, on=StoreFull).chaos(failure_rate=1, errors=StoreFull)
    store = layers.over(MemoryStore(clock=clock))
    with pytest.raises(StoreFull):
        await store.get("a")
    assert state(store) == "open"


async def test_inside_a_retry_it_ends_the_attempts(clock):
    layers = stack().retry(10).circuit_breaker(2).chaos(failure_rate=1)
    store = layers.over(MemoryStore(clock=clock))
    task = asyncio.create_task(store.get("a"))
    await clock.run(100)
    with pytest.raises(CircuitOpen):
        await task
    assert store.find(Chaos).calls == 2


async def test_each_store_has_its_own_breaker(clock):
    layers = stack().circuit_breaker(3).chaos()
    one, other = (layers.over(MemoryStore(clock=clock)) for _ in range(2))
    await fail(one, 3)
    assert (state(one), state(other)) == ("open", "closed")


def test_outside_a_retry_it_is_reported():
    with pytest.warns(StackWarning, match="breaker-outside-retry"):
        stack().circuit_breaker().retry().over(MemoryStore())


def test_inside_a_timeout_it_is_reported():
    with pytest.warns(StackWarning, match="breaker-inside-timeout"):
        stack().timeout().circuit_breaker().over(MemoryStore())
    correct = stack().timeout(30).retry().circuit_breaker().timeout(5).over(MemoryStore())
    assert correct.findings == ()


@pytest.mark.parametrize(
    "options",
    [
        {"failures": 0},
        {"failures": 1.5},
        {"failures": True},
        {"open_for": 0},
        {"open_for": float("nan")},
        {"on": BaseException},
    ],
)
def test_invalid_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        CircuitBreaker(**options)
