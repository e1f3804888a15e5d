"""A queue of calls that nobody waits for, worked off in order by one task."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import wait_for
from kvwrap.core.primitives import QualifiedKey
from kvwrap.core.turns import in_slices
from kvwrap.core.worker import Worker

_log = logging.getLogger("kvwrap.shadow")


class Backlog:
    """A bounded queue of calls, and the task that makes them in order.

    Args:
        limit: The most calls in the queue; further calls are dropped.
        owner: The name of the layer, for the log.

    Attributes:
        dropped: Number of calls dropped.
        errors: Number of calls failed, by the error's name. The first of each name is logged.
        waiting: Number of calls, queued or running, that concern a key; only keys with any.
    """

    def __init__(self, limit: int, *, owner: str) -> None:
        self._limit = limit
        self._owner = owner
        self._queue: deque[tuple[Callable[[], Awaitable[None]], Sequence[QualifiedKey]]] = deque()
        self._worker = Worker(self._work, lambda: bool(self._queue))
        self.dropped = 0
        self.errors: Counter[str] = Counter()
        self.waiting: Counter[QualifiedKey] = Counter()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """True while no call is queued or running."""
        return self._worker.idle

    def add(
        self, call: Callable[[], Awaitable[None]], qualified_keys: Sequence[QualifiedKey] = ()
    ) -> None:
        """Queue a call that concerns these keys, or drop it if the queue is full."""
        if len(self._queue) >= self._limit:
            self.dropped += 1
            return
        self._queue.append((call, qualified_keys))
        self.waiting.update(qualified_keys)
        self._worker.start()

    async def _work(self) -> None:
        while self._queue:
            call, qualified_keys = self._queue.popleft()
            try:
                await call()
            except Exception as error:
                self.record_failure(error)
            finally:
                await in_slices(self._count_down, qualified_keys)

    def _count_down(self, qualified_key: QualifiedKey) -> None:
        self.waiting[qualified_key] -= 1
        if not self.waiting[qualified_key]:
            del self.waiting[qualified_key]

    def record_failure(self, error: Exception) -> None:
        """Count an error, and log the first of its name."""
        kind = type(error).__name__
        self.errors[kind] += 1
        if self.errors[kind] == 1:
            _log.warning(
                "%s: a call to the shadow failed with %s; further ones are counted, not logged",
                self._owner,
                kind,
            )

    async def drain(self) -> None:
        """Wait until the queue is empty and the last call has ended."""
        await self._worker.drain()

    async def stop(self, clock: Clock, seconds: float) -> None:
        """Make queued calls for at most this time; cancel the running one and drop the others."""
        try:
            await wait_for(clock, seconds, self.drain())
        finally:
            self.dropped += len(self._queue)
            self._queue.clear()
            await self._worker.cancel()
            self.waiting.clear()
