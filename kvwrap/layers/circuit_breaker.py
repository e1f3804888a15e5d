"""Calls held back while the backend is down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import CircuitOpen, RateLimited, StoreFull, StoreUnavailable
from kvwrap.layers.base import (
    Around,
    Call,
    Finding,
    Layer,
    Store,
    checked_count,
    checked_errors,
    checked_seconds,
    matches,
)
from kvwrap.layers.shared.breaker import Breaker, BreakerState, Outcome

T = TypeVar("T")

_NOT_DOWN = (CircuitOpen, RateLimited, StoreFull)
"""Not counted unless asked for by name: they do not say that the backend is down."""


class CircuitBreaker(Around):
    """Holds calls back, with `CircuitOpen`, after the backend has failed several times.

    Closed, it lets every call through and counts failures in a row. At `failures` it
    opens: for `open_for` seconds calls fail at once. Then it is half-open: one call goes
    through as a probe, and whether it succeeds closes the breaker or opens it for as long
    again; the others are held back meanwhile. (Nygard, "Release It!"; see
    `kvwrap.layers.shared.breaker`.)

    Args:
        failures: How many failures in a row open it.
        open_for: How long it stays open, in seconds.
        on: The errors that are failures of the backend. `CircuitOpen`, `RateLimited` and
            `StoreFull` count only if they are named themselves. Any other error, and
            cancellation, changes nothing; a probe that ends so makes room for the next.

    A backend that hangs fails only if something ends the waiting: a `Timeout` inside.
    """

    traits = frozenset({"breaks"})

    def __init__(
        self,
        failures: int = 5,
        *,
        open_for: float = 30.0,
        on: type[Exception] | Sequence[type[Exception]] = (StoreUnavailable,),
    ) -> None:
        self.failures = checked_count(failures, "failures")
        self.open_for = checked_seconds(open_for, "open_for")
        self.on = checked_errors(on, "on")

    def on_bind(self) -> None:
        self._breaker = Breaker(self.clock, failures=self.failures, open_for=self.open_for)

    @property
    def state(self) -> BreakerState:
        """Closed, open or half-open; one whose time is over is open until the next call."""
        return self._breaker.state

    @property
    def opened(self) -> int:
        """How often it has opened."""
        return self._breaker.opened

    async def around(self, call: Call[T]) -> T:
        return await self._breaker.call(call, lambda: self._held_back(call), self._judge)

    def _judge(self, error: Exception) -> Outcome:
        if isinstance(error, self.on) and matches(error, self.on, _NOT_DOWN):
            return Outcome.DOWN
        return Outcome.UNKNOWN

    def _held_back(self, call: Call[T]) -> CircuitOpen:
        if self._breaker.state is BreakerState.HALF_OPEN:
            why = "the probe after an outage is under way"
        else:
            why = (
                f"the backend failed {self.failures} times in a row or its probe did, and is tried "
                f"again in {self._breaker.seconds_left:.3g} s"
            )
        return CircuitOpen(
            f"{call.operation} was held back: {why}",
            store=self.name,
            collection=call.collection,
            key=call.keys[0] if len(call.keys) == 1 else None,
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        inside = frozenset[str]().union(*(layer.traits for layer in below))
        outside = frozenset[str]().union(*(layer.traits for layer in above))
        if "retries" in inside:
            yield Finding(
                "breaker-outside-retry",
                "CircuitBreaker stands outside Retry, so that it counts one failure for all "
                "attempts together: a dead backend is called many times more before it opens.",
                "Put .circuit_breaker() after .retry(), which does not try again while it is open.",
            )
        if "times_out" in outside and "times_out" not in inside:
            yield Finding(
                "breaker-inside-timeout",
                "CircuitBreaker stands inside Timeout, so that a call which takes too long is "
                "cancelled before the breaker can count it: a backend that hangs never opens it.",
                "Put .timeout() after .circuit_breaker().",
            )
