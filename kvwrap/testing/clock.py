"""A clock for tests, which moves only when the test moves it."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from math import isclose

START = 2_000_000_000.0
"""Start of a clock, in Unix seconds: in the future, so that a backend's own expiry, which runs on
real time, never comes before the expiry that a test expects."""


class ManualClock:
    """A clock that moves only when it is moved.

    A task that sleeps on it waits until the clock has been moved far enough. Sleeping tasks
    belong to the event loop of the test. Move the clock only in that loop's thread.

    Args:
        start: The first time, in Unix seconds (since 1970-01-01 UTC).

    >>> clock = ManualClock()
    >>> before = clock.time()
    >>> clock.advance(2.5)
    >>> clock.time() - before, clock.monotonic()
    (2.5, 2.5)
    """

    def __init__(self, start: float = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sleeps = 0

    def time(self) -> float:
        """Return the Unix time: seconds since 1970-01-01 UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return the seconds since the clock was created; `jump` does not change them."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved by `seconds`. Returns immediately for 0 or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._sleeps += 1
        heappush(self._sleepers, (self._elapsed + seconds, self._sleeps, waiter))
        await waiter

    @property
    def sleeping(self) -> int:
        """Number of tasks that sleep on this clock."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)

    def sleeping_for(self, seconds: float) -> int:
        """Return the number of tasks that wake up once the clock has been moved by `seconds`."""
        due = self._elapsed + seconds
        return sum(isclose(at, due) and not waiter.done() for at, _, waiter in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake the tasks that are due, the earliest first.

        They run when the test next awaits something, and then see the clock's final time.
        `run` lets each task run at its own wake-up time.

        Raises:
            ValueError: `seconds` is negative or NaN.
        """
        if not seconds >= 0:
            raise ValueError(f"`seconds` must be 0 or more; got {seconds!r}; jump() moves back")
        self._elapsed += seconds
        self._wake()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back by `seconds`, as an administrator might.

        `monotonic` does not change, and no task wakes.
        """
        self._start += seconds

    async def run(self, seconds: float) -> None:
        """Move the clock forward, stop at each wake-up time on the way, and let tasks run there."""
        end = self._elapsed + seconds
        await self.settle()
        while (wakeup := self._next_wakeup()) is not None and wakeup <= end:
            self._elapsed = max(self._elapsed, wakeup)
            self._wake()
            await self.settle()
        self.advance(max(0.0, end - self._elapsed))
        await self.settle()

    @staticmethod
    async def settle(turns: int = 50) -> None:
        """Let all ready tasks run, for `turns` iterations of the event loop."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def _next_wakeup(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            waiter = heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"ManualClock(at {self.time()!r})"
