"""Circuit breaker: closed, open, or half-open with a single probe.

After Nygard, "Release It!". Calls that fail repeatedly are stopped for a while. Then one
call, the probe, is let through, and its outcome decides for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, StrEnum
from typing import Any, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.figures import Measured, counter, gauge
from kvwrap.core.validation import checked_count, checked_seconds

T = TypeVar("T")


class Outcome(Enum):
    """What the end of a call says about the backend."""

    DOWN = "down"
    """It did not answer."""
    UP = "up"
    """It answered, possibly with a refusal."""
    UNKNOWN = "unknown"
    """Nothing: the call was cancelled, or stopped before it reached the backend."""


class BreakerState(StrEnum):
    """State of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker(Measured):
    """Decides which calls go through.

    Args:
        clock: Source of the time.
        failures: Number of consecutive failures that open it.
        open_for: How long it stays open before it lets a probe through, in seconds.

    Attributes:
        opened: How often it has opened.
        rejected: Number of calls that it did not let through.

    Calls that were in flight when the state changed do not count, because their outcome is
    older than the new state.
    """

    figures = (
        gauge(
            "breaker.state",
            "1",
            "1 for the state that the circuit breaker is in.",
            "state",
            path="states",
        ),
        counter("breaker.opened", "{opening}", "How often the circuit breaker has opened."),
        counter("breaker.rejected", "{call}", "Calls that the circuit breaker rejected."),
    )

    def __init__(self, clock: Clock, *, failures: int, open_for: float) -> None:
        self._clock = clock
        self._max_failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._open_until = 0.0
        self._generation = 0
        self.opened = 0
        self.rejected = 0

    @property
    def state(self) -> BreakerState:
        """The current state. A breaker whose `open_for` has passed stays open until a call."""
        return self._state

    @property
    def states(self) -> dict[str, int]:
        """1 for the current state, 0 for the others."""
        return {state.value: int(state is self._state) for state in BreakerState}

    @property
    def seconds_left(self) -> float:
        """Seconds until a probe may go; 0 if calls go through, or a probe may go now."""
        return max(0.0, self._open_until - self._clock.monotonic())

    async def call(
        self,
        call: Callable[[], Coroutine[Any, Any, T]],
        rejection: Callable[[], Exception],
        judge: Callable[[Exception], Outcome],
    ) -> T:
        """Make the call and record its outcome.

        A call that is cancelled counts as `Outcome.UNKNOWN`. If it was the probe, the next
        call is the probe.

        Args:
            call: Makes the coroutine to await. It is not called while the breaker is open.
            rejection: Makes the error to raise while the breaker is open.
            judge: Returns what an error of the call says about the backend.
        """
        generation = self._admit()
        if generation is None:
            self.rejected += 1
            raise rejection()
        # From here on an outcome must be recorded: a probe keeps all other calls out.
        try:
            result = await call()
        except Exception as error:
            self._record(judge(error), generation)
            raise
        except BaseException:
            self._record(Outcome.UNKNOWN, generation)
            raise
        self._record(Outcome.UP, generation)
        return result

    def _admit(self) -> int | None:
        """Return the generation that a call belongs to, or `None` if it may not go through."""
        if self._state is BreakerState.OPEN and self._clock.monotonic() >= self._open_until:
            self._change(BreakerState.HALF_OPEN)
            return self._generation
        return self._generation if self._state is BreakerState.CLOSED else None

    def _record(self, outcome: Outcome, generation: int) -> None:
        if generation != self._generation:
            return
        is_probe = self._state is BreakerState.HALF_OPEN
        match outcome:
            case Outcome.UP:
                self._failures = 0
                if is_probe:
                    self._change(BreakerState.CLOSED)
            case Outcome.DOWN:
                self._failures += 1
                if is_probe or self._failures >= self._max_failures:
                    self._open_until = self._clock.monotonic() + self._open_for
                    self._change(BreakerState.OPEN)
                    self.opened += 1
            case Outcome.UNKNOWN if is_probe:
                # The next call is the probe.
                self._open_until = self._clock.monotonic()
                self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._failures = 0
        self._generation += 1
