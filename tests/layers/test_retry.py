"""Which errors Retry retries, when, and which operations must not happen twice."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Chaos,
    CircuitOpen,
    ConfigurationError,
    MemoryStore,
    Passthrough,
    Retry,
    StackWarning,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.testing import ManualClock


class Scripted(Passthrough):
    """Follows a script of (error or None, whether to carry out the operation first)."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = []

    async def _next(self, operation, forward, *arguments):
        self.calls.append((operation, self.clock.monotonic()))
        error, carried_out = self.script.pop(0) if self.script else (None, True)
        result = await forward(*arguments) if carried_out else None
        if error is not None:
            raise error
        return result

    async def read(self, *arguments):
        return await self._next("read", self.inner.read, *arguments)

    async def write(self, *arguments):
        return await self._next("write", self.inner.write, *arguments)

    async def remove(self, *arguments):
        return await self._next("remove", self.inner.remove, *arguments)

    async def list_keys(self, *arguments):
        return await self._next("list_keys", self.inner.list_keys, *arguments)


def down(kind=StoreUnavailable):
    """Return a step of the script: not carried out."""
    return kind("the backend is down"), False


def lost(kind=StoreTimeout):
    """Return a step of the script: carried out, and the response lost."""
    return kind("no answer"), True


OK = (None, True)


class UpperBound(random.Random):
    """Always draws the upper bound."""

    def uniform(self, a, b):
        return b


def retrying(*script, clock, **options):
    return stack(Retry(rng=UpperBound(), **options), Scripted(*script)).over(
        MemoryStore(clock=clock)
    )


async def finish(clock, coroutine, seconds=1000):
    task = asyncio.ensure_future(coroutine)
    await clock.run(seconds)
    assert task.done()
    return await task


def calls(store):
    return [operation for operation, _ in store.find(Scripted).calls]


def times(store):
    return [round(moment, 9) for _, moment in store.find(Scripted).calls]


async def test_an_operation_that_fails_and_then_works_has_succeeded(clock):
    store = retrying(down(), down(StoreTimeout), clock=clock)
    await finish(clock, store.put("a", 1))
    assert calls(store) == ["write"] * 3
    assert await store.get("a") == 1


async def test_a_success_is_one_call_without_a_wait(clock):
    store = retrying(clock=clock)
    await store.put("a", 1)
    assert times(store) == [0]


async def test_waits_double_up_to_the_limit(clock):
    store = retrying(*[down()] * 6, clock=clock, attempts=6, wait=1, max_wait=5)
    with pytest.raises(StoreUnavailable):
        await finish(clock, store.get("a"))
    assert times(store) == [0, 1, 3, 7, 12, 17]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(), attempts=st.integers(2, 8))
async def test_every_wait_is_within_its_bounds_and_depends_only_on_the_seed(seed, attempts):
    async def moments():
        clock = ManualClock()
        layers = stack(
            Retry(attempts, rng=random.Random(seed), wait=0.5, max_wait=4), Scripted(*[down()] * 8)
        )
        store = layers.over(MemoryStore(clock=clock))
        with pytest.raises(StoreUnavailable):
            await finish(clock, store.get("a"))
        return times(store)

    found = await moments()
    assert len(found) == attempts
    for number, (before, after) in enumerate(pairwise(found)):
        assert 0 <= after - before <= min(4, 0.5 * 2**number) + 1e-9
    assert found == await moments()


async def test_the_last_error_is_raised_unchanged_with_a_note(clock):
    last = StoreTimeout("the last")
    store = retrying(down(), down(), (last, False), clock=clock)
    with pytest.raises(StoreTimeout) as caught:
        await finish(clock, store.get("a"))
    assert caught.value is last
    assert caught.value.__notes__ == ["Retry gave up read after 3 attempts"]


async def test_no_attempt_begins_after_the_timeout(clock):
    store = retrying(*[down()] * 9, clock=clock, attempts=9, wait=4, max_wait=4, timeout=10)
    with pytest.raises(StoreUnavailable):
        await finish(clock, store.get("a"))
    assert times(store) == [0, 4, 8]


async def test_without_a_timeout_all_attempts_are_made(clock):
    store = retrying(*[down()] * 9, clock=clock, attempts=10, timeout=None, wait=50, max_wait=50)
    await finish(clock, store.put("a", 1))
    assert len(calls(store)) == 10
    store = retrying(*[down()] * 9, clock=clock, attempts=10, timeout=100, wait=50, max_wait=50)
    with pytest.raises(StoreUnavailable):
        await finish(clock, store.put("a", 1))
    assert len(calls(store)) == 3


async def test_the_error_has_what_succeeded_in_every_attempt(clock):
    def part(*keys):
        return StoreUnavailable("down", succeeded=keys or None), False

    store = retrying(part("a"), part("c"), part(), clock=clock)
    with pytest.raises(StoreUnavailable) as caught:
        await finish(clock, store.delete_many(["a", "b", "c"]))
    assert caught.value.succeeded == ("a", "c")


@pytest.mark.parametrize("kind", [ValueTooLarge, CircuitOpen, RuntimeError])
async def test_errors_that_are_not_transient_are_raised_at_once(clock, kind):
    store = retrying((kind("no"), False), clock=clock)
    with pytest.raises(kind):
        await store.put("a", 1)
    assert calls(store) == ["write"]


async def test_an_error_that_is_not_transient_ends_the_attempts(clock):
    store = retrying(down(), (ValueTooLarge("no"), False), clock=clock)
    with pytest.raises(ValueTooLarge):
        await finish(clock, store.put("a", 1))
    assert calls(store) == ["write"] * 2


async def test_the_errors_to_retry_can_be_chosen(clock):
    store = retrying(
        (StoreFull("full"), False), (CircuitOpen("open"), False), clock=clock,
        on=[StoreFull, CircuitOpen],
    )  # fmt: skip
    await finish(clock, store.put("a", 1))
    assert len(calls(store)) == 3
    store = retrying(down(), clock=clock, on=StoreFull)
    with pytest.raises(StoreUnavailable):
        await store.put("a", 1)


async def test_attempts_and_calls_that_were_given_up_are_counted(clock):
    store = retrying(down(), down(), down(), down(), clock=clock, attempts=3)
    retry = store.find(Retry)
    assert (retry.retried, retry.given_up) == (0, 0)
    with pytest.raises(StoreUnavailable):
        await finish(clock, store.get("a"))
    assert (retry.retried, retry.given_up) == (2, 1)
    await finish(clock, store.get("a"))
    assert (retry.retried, retry.given_up) == (3, 1)


async def test_with_one_attempt_nothing_is_retried(clock):
    store = retrying(down(), clock=clock, attempts=1)
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert calls(store) == ["read"]


async def test_cancellation_takes_effect_at_once_during_a_wait(clock):
    store = retrying(down(), clock=clock)
    task = asyncio.create_task(store.get("a"))
    await clock.settle()
    assert clock.sleeping == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.run(100)
    assert calls(store) == ["read"]


async def test_cancellation_takes_effect_at_once_during_an_attempt(clock):
    store = stack(Retry(), Chaos(delay=60)).over(MemoryStore(clock=clock))
    task = asyncio.create_task(store.get("a"))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.find(Chaos).calls == 1


async def test_a_callers_timeout_ends_the_attempts(clock):
    store = stack(Retry(100), Chaos(failure_rate=1)).over(MemoryStore(clock=clock))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await store.get("a")
    assert not isinstance(caught.value, StoreTimeout)


# -- operations that must not happen twice -----------------------------------------------


async def test_a_conditional_write_whose_response_was_lost_has_succeeded(clock):
    store = retrying(lost(), clock=clock)
    assert await finish(clock, store.put_if_absent("a", 1)) is True
    assert calls(store) == ["write", "read"]


async def test_a_conditional_write_that_did_not_happen_is_tried_again(clock):
    store = retrying(down(), clock=clock)
    assert await finish(clock, store.put_if_absent("a", 1)) is True
    assert calls(store) == ["write", "read", "write"]
    assert await finish(clock, store.put_if_absent("a", 2)) is False


async def test_a_conditional_write_that_keeps_the_version_is_tried_again(clock):
    """Its version does not tell whether it happened."""
    base = MemoryStore(clock=clock)
    await base.put("a", 1, ttl=10)
    (entry,) = await base.read(None, ["a"])
    store = stack(Retry(rng=UpperBound(), wait=1), Scripted(down(), OK)).over(base)
    later = entry.with_expiry(clock.time() + 50)
    writing = asyncio.create_task(store.write(None, ["a"], [later], [entry.version]))
    await clock.run(5)
    assert await writing == [True]
    assert (await base.ttl("a"))[1] == pytest.approx(45, abs=0.01)


async def test_a_conditional_write_followed_by_another_raises_its_error(clock):
    base = MemoryStore(clock=clock)
    store = stack(Retry(rng=UpperBound(), wait=1), Scripted(OK, lost())).over(base)
    first = await store.get_versioned("a") or await base.put("a", 1)
    first = await base.get_versioned("a")
    task = asyncio.create_task(store.compare_and_put("a", 2, first.version))
    await clock.settle()
    await base.put("a", 3)
    await clock.run(100)
    with pytest.raises(StoreTimeout) as caught:
        await task
    assert "is unknown" in caught.value.__notes__[0]
    assert calls(store) == ["read", "write", "read"]
    assert await base.get("a") == 3


async def test_the_read_after_a_conditional_write_is_retried_too(clock):
    store = retrying(lost(), down(), clock=clock)
    assert await finish(clock, store.put_if_absent("a", 1)) is True
    assert calls(store) == ["write", "read", "read"]


async def test_a_conditional_remove_is_retried_only_if_it_did_not_happen(clock):
    store = retrying(OK, OK, down(), clock=clock)
    await store.put("a", 1)
    assert await finish(clock, store.pop("a")) == 1
    assert calls(store) == ["write", "read", "remove", "read", "remove"]

    store = retrying(OK, OK, lost(), clock=clock)
    await store.put("a", 1)
    with pytest.raises(StoreTimeout):
        await finish(clock, store.pop("a"))
    assert calls(store) == ["write", "read", "remove", "read"]


async def test_of_a_conditional_batch_only_the_remaining_keys_are_written_again(clock):
    class Half(Passthrough):
        def __init__(self):
            self.batches = []

        async def write(self, collection, keys, entries, expected=None):
            self.batches.append(list(keys))
            if len(self.batches) == 1:
                await self.inner.write(collection, keys[:1], entries[:1], expected[:1])
                raise StoreTimeout("half of the batch", succeeded=keys[:1])
            return await self.inner.write(collection, keys, entries, expected)

    base = MemoryStore(clock=clock)
    await base.put_many(["a", "b"], [1, 2])
    entries = await base.read(None, ["a", "b"])
    versions = [entry.version for entry in entries]
    store = stack(Retry(), Half()).over(base)
    new = [entry.with_expiry(None, 7) for entry in entries]
    assert await finish(clock, store.write(None, ["a", "b"], new, versions)) == [True, True]
    assert store.find(Half).batches == [["a", "b"], ["b"]]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    lost_rate=st.sampled_from([0.0, 0.3, 0.6]),
    failure_rate=st.sampled_from([0.0, 0.2, 0.4]),
)
async def test_increments_are_never_counted_twice(seed, lost_rate, failure_rate):
    clock = ManualClock()
    base = MemoryStore(clock=clock)
    layers = (
        stack()
        .retry(4)
        .chaos(
            seed,
            lost_rate=lost_rate,
            failure_rate=failure_rate,
            delay=(0, 0.5),
            reply_delay=(0, 0.5),
        )
    )
    # Two stacks over one backend contend like two processes: each has locks of its own.
    stores = [layers.over(base), layers.over(base)]
    totals, failed = [], 0

    async def count(store):
        nonlocal failed
        for _ in range(5):
            try:
                totals.append(await store.increment("n"))
            except StoreUnavailable:
                failed += 1

    tasks = [asyncio.create_task(count(store)) for store in stores for _ in range(2)]
    for _ in range(10_000):
        if all(task.done() for task in tasks):
            break
        # Increments that conflict wait for a moment of real time.
        await clock.run(10)
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    assert len(set(totals)) == len(totals)
    assert len(totals) <= (await base.get("n") or 0) <= len(totals) + failed


async def test_a_page_of_keys_whose_response_was_lost_is_not_skipped(clock):
    store = retrying(OK, lost(), OK, lost(), clock=clock)
    names = [f"{number:04}" for number in range(1500)]
    await store.put_many(names, names)
    assert await finish(clock, store.keys()) == names


# -- layer order and arguments -----------------------------------------------------------


def test_two_retry_layers_are_reported():
    with pytest.warns(StackWarning, match="retry-twice"):
        stack().retry().retry().over(MemoryStore())


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"attempts": 2.5},
        {"attempts": True},
        {"wait": -1},
        {"wait": float("nan")},
        {"max_wait": 0.01},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"on": ()},
        {"on": "StoreTimeout"},
        {"on": [asyncio.CancelledError]},
    ],
)
def test_invalid_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        Retry(**options)
