"""Limits on the time of calls, with one timer for all calls of an event loop.

A timer for each call, as `asyncio.timeout` has, takes an eighth of the client's time of a round
trip: calls end long before it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from math import inf
from types import TracebackType
from typing import Generic, Self, TypeVar

from kvwrap.core.concurrency import CANCEL_AGAIN, uncancel

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Ends what is late, in the running event loop.

    Args:
        end: Called with each item whose deadline has passed.

    Attributes:
        loop: The event loop.
        pending: The items, each with its deadline as a time of the event loop.
    """

    def __init__(self, end: Callable[[T], object]) -> None:
        self.pending: dict[T, float] = {}
        self._end = end
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T, deadline: float) -> None:
        """End an item at this time, unless it is removed before. It is never late at infinity."""
        self.pending[item] = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._set_timer(deadline)

    def remove(self, item: T) -> bool:
        """Forget an item. Returns False if it was late."""
        return self.pending.pop(item, None) is not None

    def stop(self) -> None:
        """End nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, deadline: float) -> None:
        self.stop()
        if deadline < inf:
            self._timer = self.loop.call_at(deadline, self._end_late)

    def _end_late(self) -> None:
        self._timer = None
        now = self.loop.time()
        for item in [each for each, deadline in self.pending.items() if deadline <= now]:
            del self.pending[item]
            self._end(item)
        if self.pending:
            self._set_timer(min(self.pending.values()))


class TimeLimits:
    """Makes limits on the time of calls in the running event loop.

    Attributes:
        loop: That event loop.
    """

    def __init__(self) -> None:
        self._deadlines = Deadlines(TimeLimit.expire)
        self.loop = asyncio.get_running_loop()

    def within(self, seconds: float | None) -> TimeLimit:
        """Return a limit of this number of seconds from now; None for no limit."""
        deadline = inf if seconds is None else self.loop.time() + seconds
        return TimeLimit(self._deadlines, deadline)

    def until(self, deadline: float) -> TimeLimit:
        """Return a limit that ends at this time of the event loop."""
        return TimeLimit(self._deadlines, deadline)


class TimeLimit:
    """Raises `TimeoutError` from a block that takes too long, as `asyncio.timeout` does."""

    __slots__ = ("_cancelled", "_cancelling", "_deadline", "_deadlines", "_task")

    _task: asyncio.Task[object]
    _cancelling: int

    def __init__(self, deadlines: Deadlines[TimeLimit], deadline: float) -> None:
        self._deadlines = deadlines
        self._deadline = deadline
        self._cancelled = 0

    def expire(self) -> None:
        """Cancel the block, and again after a while if it goes on: it may lose a cancellation."""
        self._cancelled += 1
        self._task.cancel()
        self._deadlines.add(self, self._task.get_loop().time() + CANCEL_AGAIN)

    @property
    def has_expired(self) -> bool:
        """True if the block was cancelled because its time was over."""
        return self._cancelled > 0

    def __enter__(self) -> Self:
        # Finding the event loop asks the system for the process.
        task = asyncio.current_task(self._deadlines.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.add(self, self._deadline)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.remove(self)
        if not self._cancelled:
            return
        # A cancellation by somebody else is not a timeout, also if the time is over.
        is_only = uncancel(self._task, self._cancelled) <= self._cancelling
        if is_only and kind is asyncio.CancelledError:
            raise TimeoutError from error


class _SingleLimit(TimeLimit):
    """A limit with a timer of its own, which ends with it."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.stop()
        super().__exit__(kind, error, trace)


def time_limit(seconds: float | None) -> TimeLimit:
    """Return a limit of this number of seconds from now for one block; None for no limit."""
    deadlines = Deadlines(TimeLimit.expire)
    return _SingleLimit(deadlines, inf if seconds is None else deadlines.loop.time() + seconds)
