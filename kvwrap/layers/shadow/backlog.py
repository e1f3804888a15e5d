"""Calls that nobody waits for, done one after the other by one task."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import is_running, wait_for
from kvwrap.core.primitives import QualifiedKey

_log = logging.getLogger("kvwrap.backlog")


class Backlog:
    """A queue with a limit, and the task that works it off in its order.

    Args:
        limit: The most calls that wait; further ones are dropped.
        owner: Who speaks in the log.

    Attributes:
        dropped: How many calls were dropped.
        errors: How many calls failed, by the error's name. Each kind is logged once.
        waiting: How many calls that wait concern a slot.
    """

    def __init__(self, limit: int, *, owner: str) -> None:
        self._limit = limit
        self._owner = owner
        self._queue: deque[tuple[Callable[[], Awaitable[None]], Sequence[QualifiedKey]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.dropped = 0
        self.errors: Counter[str] = Counter()
        self.waiting: Counter[QualifiedKey] = Counter()

    def __len__(self) -> int:
        return len(self._queue)

    def add(
        self, call: Callable[[], Awaitable[None]], qualified_keys: Sequence[QualifiedKey] = ()
    ) -> None:
        """Have it done when its turn comes, unless too many wait."""
        if len(self._queue) >= self._limit:
            self.dropped += 1
            return
        self._queue.append((call, qualified_keys))
        self.waiting.update(qualified_keys)
        self._start()

    def _start(self) -> None:
        if self._queue and not is_running(self._worker):
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
            call, qualified_keys = self._queue.popleft()
            try:
                await call()
            except Exception as error:
                self.failed(error)
            finally:
                count_down(self.waiting, qualified_keys)

    def failed(self, error: Exception) -> None:
        """Count an error, and log the first of its kind."""
        kind = type(error).__name__
        self.errors[kind] += 1
        if self.errors[kind] == 1:
            _log.warning("%s: a call failed with %s; further ones are counted", self._owner, kind)

    async def drain(self) -> None:
        """Wait until all is done."""
        self._start()
        while (worker := self._worker) is not None and is_running(worker):
            await asyncio.wait((worker,))
            self._start()

    async def stop(self, clock: Clock, seconds: float) -> None:
        """Work for so many seconds more; drop what is left."""
        try:
            await wait_for(clock, seconds, self.drain())
        finally:
            self.dropped += len(self._queue)
            self._queue.clear()
            worker, self._worker = self._worker, None
            if worker is not None and is_running(worker):
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
            self.waiting.clear()


def count_down(counter: Counter[QualifiedKey], qualified_keys: Sequence[QualifiedKey]) -> None:
    """Take one off for each slot, and forget those at nought."""
    for qualified in qualified_keys:
        counter[qualified] -= 1
        if not counter[qualified]:
            del counter[qualified]
