"""The circuit breaker around a second store: what its errors say about the store."""

from __future__ import annotations

import pytest

from kvwrap import CircuitOpen, CorruptEntry, RateLimited, StoreFull, StoreTimeout, StoreUnavailable
from kvwrap.layers.shared.guard import Guard
from kvwrap.testing import ManualClock


@pytest.fixture
def guard(clock: ManualClock) -> Guard:
    return Guard(clock, failures=2, open_for=10, owner="Layer", role="copy")


async def _raise(error: Exception) -> None:
    raise error


async def end_with(guard: Guard, error: Exception) -> None:
    """Make a call that ends with this error."""
    with pytest.raises(type(error)) as caught:
        await guard.call(_raise, error)
    assert caught.value is error


async def test_it_opens_after_failures_and_then_makes_no_call(guard: Guard) -> None:
    await end_with(guard, StoreUnavailable("down"))
    assert (guard.state, guard.opened) == ("closed", 0)
    await end_with(guard, StoreTimeout("late"))
    assert (guard.state, guard.opened) == ("open", 1)
    with pytest.raises(CircuitOpen, match="the copy of Layer") as caught:
        await guard.call(_raise, AssertionError("called"))
    assert caught.value.store == "Layer"


async def test_a_refusal_of_the_store_is_an_answer(guard: Guard, clock: ManualClock) -> None:
    await end_with(guard, StoreUnavailable("down"))
    await end_with(guard, CorruptEntry("damaged"))
    await end_with(guard, StoreUnavailable("down"))
    assert guard.state == "closed"
    await end_with(guard, StoreUnavailable("down"))
    clock.advance(10)
    await end_with(guard, CorruptEntry("damaged"))
    assert guard.state == "closed"


@pytest.mark.parametrize(
    "error",
    [CircuitOpen("open"), RateLimited("limit"), StoreFull("full"), ValueError("a bug")],
    ids=lambda error: type(error).__name__,
)
async def test_other_errors_say_nothing_about_the_store(
    guard: Guard, clock: ManualClock, error: Exception
) -> None:
    await end_with(guard, StoreUnavailable("down"))
    for _ in range(3):
        await end_with(guard, error)
    assert guard.state == "closed"
    await end_with(guard, StoreUnavailable("down"))
    assert guard.state == "open"  # they are no answers between the failures either
    clock.advance(10)
    await end_with(guard, error)
    assert guard.state == "open"
    await end_with(guard, StoreUnavailable("down"))  # the next call is the probe
    assert (guard.state, guard.opened) == ("open", 2)
