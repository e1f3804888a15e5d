"""Time that moves when a test says so."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush

START = 2_000_000_000.0
"""Where a clock begins: late enough that no backend's own expiry comes before a test's."""


class ManualClock:
    """A clock that stands still until it is moved.

    Whoever sleeps on it waits until the clock has been moved that far. What sleeps
    belongs to the event loop of the test; moving the clock is for that loop's thread.

    Args:
        start: The first moment, in seconds since 1970-01-01 UTC.

    >>> clock = ManualClock()
    >>> before = clock.time()
    >>> clock.advance(2.5)
    >>> clock.time() - before, clock.monotonic()
    (2.5, 2.5)
    """

    def __init__(self, start: float = START) -> None:
        self._start = start
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed

    async def sleep(self, seconds: float) -> None:
        """Come back when the clock has been moved by so many seconds; at once for 0 or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._sleepers, (self._passed + seconds, self._count, waiter))
        await waiter

    @property
    def sleeping(self) -> int:
        """How many are asleep on this clock."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever's time has come, the earliest first.

        They run when the test next awaits something, and then see the clock where it
        stands at the end; `run` lets each run at its own moment.
        """
        if not seconds >= 0:
            raise ValueError(f"a clock is moved on by 0 seconds or more, not {seconds!r}")
        self._passed += seconds
        self._wake()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards or backwards, as an administrator may; nobody wakes."""
        self._start += seconds

    async def run(self, seconds: float) -> None:
        """Move on from one sleeper's moment to the next, and let tasks run at each."""
        end = self._passed + seconds
        await self.settle()
        while (moment := self._next()) is not None and moment <= end:
            self._passed = max(self._passed, moment)
            self._wake()
            await self.settle()
        self.advance(max(0.0, end - self._passed))
        await self.settle()

    @staticmethod
    async def settle(turns: int = 50) -> None:
        """Let every task run that can, for so many turns of the event loop."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def _next(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._passed:
            waiter = heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"ManualClock(at {self.time()!r})"
