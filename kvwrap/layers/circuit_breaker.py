"""Stop calling a backend that is down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import CircuitOpen, RateLimited, StoreFull, StoreUnavailable
from kvwrap.layers.base import (
    Around,
    Call,
    Finding,
    Layer,
    Measured,
    Passage,
    Store,
    checked_count,
    checked_errors,
    checked_seconds,
    matches,
)
from kvwrap.layers.shared.breaker import Breaker, BreakerState, Outcome

T = TypeVar("T")

_NOT_DOWN = (CircuitOpen, RateLimited, StoreFull)
"""Counted only if `on` names them: they do not mean that the backend is down."""


class CircuitBreaker(Around):
    """Rejects calls with `CircuitOpen` after the backend has failed several times.

    Closed, it lets every call through and counts consecutive failures. At `failures` it
    opens, and for `open_for` seconds calls fail at once. Then it is half-open: one call goes
    through as a probe, and all others still fail. A successful probe closes the breaker, and
    a failed one opens it again for `open_for` seconds. (Nygard, "Release It!"; see
    `kvwrap.layers.shared.breaker`.)

    Args:
        failures: Number of consecutive failures that open it.
        open_for: How long it stays open, in seconds.
        on: The errors that count as failures of the backend. `CircuitOpen`, `RateLimited`
            and `StoreFull` count only if they are named themselves. Any other error, and
            cancellation, changes nothing. If a probe ends so, the next call is the probe.

    A backend that hangs counts as failed only if a time limit ends the call: put a
    `Timeout` inside.
    """

    passage = Passage(read="fails at once while the backend is down")
    traits = frozenset({"breaks"})
    finding_codes = frozenset({"breaker-inside-timeout", "breaker-outside-retry"})

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
        """Closed, open or half-open. After `open_for`, it stays open until the next call."""
        return self._breaker.state

    @property
    def opened(self) -> int:
        """How often it has opened."""
        return self._breaker.opened

    def measured(self) -> Iterable[Measured]:
        return (self._breaker,)

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        return await self._breaker.call(call, lambda: self._rejection(call), self._judge)

    def _judge(self, error: Exception) -> Outcome:
        if isinstance(error, self.on) and matches(error, self.on, _NOT_DOWN):
            return Outcome.DOWN
        return Outcome.UNKNOWN

    def _rejection(self, call: Call[T]) -> CircuitOpen:
        if self._breaker.state is BreakerState.HALF_OPEN:
            reason = "the probe after an outage is still running"
        else:
            reason = (
                f"the backend failed {self.failures} times in a row, or its probe failed; it is "
                f"tried again in {self._breaker.seconds_left:.3g} s"
            )
        return CircuitOpen(
            f"{call.operation} was rejected: {reason}",
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
                "CircuitBreaker is outside Retry. All attempts together count as one failure, so a "
                "failing backend is called many more times before the breaker opens.",
                "Put .circuit_breaker() after .retry(), which stops when the breaker opens.",
            )
        if "times_out" in outside and "times_out" not in inside:
            yield Finding(
                "breaker-inside-timeout",
                "CircuitBreaker is inside Timeout. The timeout cancels a hanging call before the "
                "breaker can count it, so a hanging backend never opens the breaker.",
                "Put .timeout() after .circuit_breaker().",
            )
