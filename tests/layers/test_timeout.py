"""When Timeout cancels an operation, and which timeouts it leaves unchanged."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Passthrough,
    StackWarning,
    StoreTimeout,
    Timeout,
    stack,
)

SHORT = 0.01


class Hanging(Passthrough):
    """Never answers a read, and counts the reads that were cancelled."""

    def __init__(self):
        self.cancelled = 0

    async def read(self, collection, keys):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def hanging(seconds=SHORT, **options):
    return stack(Timeout(seconds, **options), Hanging()).over(MemoryStore())


async def test_an_operation_that_takes_too_long_is_cancelled_and_named_in_the_error():
    store = hanging()
    with pytest.raises(StoreTimeout) as caught:
        await store.get("a", collection="c")
    error = caught.value
    assert (error.store, error.collection, error.key) == ("Timeout", "c", "a")
    assert isinstance(error.__cause__, TimeoutError)
    assert not isinstance(error.__cause__, StoreTimeout)
    assert store.find(Hanging).cancelled == 1


async def test_an_operation_within_the_limit_passes():
    store = hanging()
    await store.put("a", 1)
    assert await store.keys() == ["a"]


async def test_a_timeout_error_of_the_backend_passes_unchanged():
    class Own(Passthrough):
        async def read(self, collection, keys):
            raise TimeoutError("the driver's")

        async def write(self, *arguments):
            raise StoreTimeout("the backend's")

    store = stack(Timeout(60), Own()).over(MemoryStore())
    with pytest.raises(TimeoutError, match=r"^the driver's$") as caught:
        await store.get("a")
    assert not isinstance(caught.value, StoreTimeout)
    with pytest.raises(StoreTimeout, match=r"^the backend's$"):
        await store.put("a", 1)


async def test_a_shorter_timeout_of_the_caller_stays_a_plain_timeout_error():
    store = hanging(60)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(SHORT):
            await store.get("a")
    assert not isinstance(caught.value, StoreTimeout)


async def test_the_callers_cancellation_is_not_swallowed():
    store = hanging(60)
    task = asyncio.create_task(store.get("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_driver_that_turns_cancellation_into_its_own_timeout_raises_store_timeout():
    class Turning(Passthrough):
        async def read(self, collection, keys):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise TimeoutError("the driver's") from None

    store = stack(Timeout(SHORT), Turning()).over(MemoryStore())
    with pytest.raises(StoreTimeout):
        await store.get("a")


async def test_a_backend_that_turns_cancellation_into_a_store_timeout_raises_its_own():
    class Turning(Passthrough):
        async def read(self, collection, keys):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise StoreTimeout("the backend's") from None

    store = stack(Timeout(SHORT), Turning()).over(MemoryStore())
    with pytest.raises(StoreTimeout, match=r"^the backend's"):
        await store.get("a")


async def test_operations_can_have_their_own_limits():
    store = hanging(SHORT, operations={"read": None})
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(3 * SHORT):
            await store.get("a")
    assert not isinstance(caught.value, StoreTimeout)
    store = hanging(60, operations={"read": SHORT})
    with pytest.raises(StoreTimeout):
        await store.get("a")


def test_outside_a_retry_it_is_reported():
    with pytest.warns(StackWarning, match="timeout-outside-retry"):
        stack().timeout().retry().over(MemoryStore())


def test_on_both_sides_of_a_retry_it_is_not_reported():
    store = stack().timeout(30).retry().timeout(5).over(MemoryStore())
    assert store.findings == ()


def test_outside_a_limit_it_is_reported():
    with pytest.warns(StackWarning, match="timeout-outside-limit"):
        stack().timeout().limit_rate(10).over(MemoryStore())


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_an_invalid_number_of_seconds_is_refused(seconds):
    with pytest.raises(ConfigurationError):
        Timeout(seconds)


def test_an_unknown_operation_is_refused_with_a_suggestion():
    with pytest.raises(ConfigurationError, match="did you mean 'drop_all'"):
        Timeout(1, operations={"drop_al": None})
    with pytest.raises(ConfigurationError):
        Timeout(1, operations={"read": 0})
