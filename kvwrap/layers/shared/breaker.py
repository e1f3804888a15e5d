"""A circuit breaker's state: closed, open, half-open with a single probe.

After Nygard, "Release It!": calls that keep failing are held back for a while, then one
of them is let through, and what becomes of it decides for the others. Plain state,
without awaits, and `call`, which puts one call through it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, StrEnum
from typing import Any, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.validation import checked_count, checked_seconds

T = TypeVar("T")


class Outcome(Enum):
    """What a call's error says of the backend."""

    DOWN = "down"
    """The backend did not answer."""
    UP = "up"
    """It answered, if only to refuse."""
    UNKNOWN = "unknown"
    """Nothing: the call was cancelled or held back before it got there."""


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Says which calls may go on.

    Args:
        clock: Where the time comes from.
        failures: After how many failures in a row it opens.
        open_for: How long it stays open before it lets a probe through, seconds.

    Calls that were under way when the state changed no longer count: what they found is
    older than what is known.
    """

    def __init__(self, clock: Clock, *, failures: int, open_for: float) -> None:
        self._clock = clock
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")
        self._state = BreakerState.CLOSED
        self._failed = 0
        self._until = 0.0
        self._era = 0
        self.opened = 0
        """How often it has opened."""

    @property
    def state(self) -> BreakerState:
        """What it is now; an open one whose time is over is still open until it is asked."""
        return self._state

    @property
    def seconds_left(self) -> float:
        """How long until a probe may go; 0 where calls go through or a probe may go now."""
        if self._state is BreakerState.OPEN:
            return max(0.0, self._until - self._clock.monotonic())
        return 0.0

    async def call(
        self,
        call: Callable[[], Coroutine[Any, Any, T]],
        held_back: Callable[[], Exception],
        judge: Callable[[Exception], Outcome],
    ) -> T:
        """Make the call, and count how it ended.

        Args:
            call: Makes the coroutine to await; not called while the breaker is open.
            held_back: Makes the error to raise while the breaker is open.
            judge: What an error of the call says of the backend.
        """
        entered = self.enter()
        if entered is None:
            raise held_back()
        try:
            result = await call()
        except Exception as error:
            match judge(error):
                case Outcome.DOWN:
                    self.failed(entered)
                case Outcome.UP:
                    self.succeeded(entered)
                case Outcome.UNKNOWN:
                    self.abandoned(entered)
            raise
        except BaseException:
            self.abandoned(entered)
            raise
        self.succeeded(entered)
        return result

    def enter(self) -> int | None:
        """A pass for one call, to be handed back with its outcome; `None` holds it back.

        Whoever gets a pass hands it to `succeeded`, `failed` or `abandoned`, whatever
        happens: the pass of a probe keeps all other calls out.
        """
        match self._state:
            case BreakerState.CLOSED:
                return self._era
            case BreakerState.OPEN if self._clock.monotonic() >= self._until:
                self._change(BreakerState.HALF_OPEN)
                return self._era
            case _:
                return None

    def succeeded(self, entered: int) -> None:
        """The backend answered."""
        if entered == self._era:
            self._failed = 0
            if self._state is BreakerState.HALF_OPEN:
                self._change(BreakerState.CLOSED)

    def failed(self, entered: int) -> None:
        """The backend did not answer."""
        if entered != self._era:
            return
        self._failed += 1
        if self._state is BreakerState.HALF_OPEN or self._failed >= self._failures:
            self._until = self._clock.monotonic() + self._open_for
            self._change(BreakerState.OPEN)
            self.opened += 1

    def abandoned(self, entered: int) -> None:
        """The call was cancelled, or says nothing of the backend: the next one may probe."""
        if entered == self._era and self._state is BreakerState.HALF_OPEN:
            self._until = self._clock.monotonic()
            self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._failed = 0
        self._era += 1
