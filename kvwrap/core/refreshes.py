"""Computations in the background, while callers go on with a stale value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from kvwrap.core.clock import Clock
from kvwrap.core.computations import Computations
from kvwrap.core.concurrency import cancel_and_wait, is_running
from kvwrap.core.primitives import QualifiedKey

CLOSE_TIMEOUT = 10.0
"""Seconds for which `close` waits for factories that it has cancelled."""


class Refresh:
    """One computation in the background, and the callers that wait for its outcome.

    Args:
        task: The computation.
        clock: The store's clock.
        epoch: See `Refreshes.begin`.

    Attributes:
        started_at: When it began, by `Clock.monotonic`.
    """

    __slots__ = ("_callers", "_clock", "epoch", "started_at", "task")

    def __init__(self, task: asyncio.Task[Any], clock: Clock, epoch: int) -> None:
        self.task = task
        self.started_at = clock.monotonic()
        self.epoch = epoch
        self._clock = clock
        self._callers = 0

    @property
    def is_awaited(self) -> bool:
        """True if a caller waits for the outcome."""
        return self._callers > 0

    async def ends_by(self, age: float) -> bool:
        """Wait until the computation ends or is `age` seconds old. Returns True if it ended."""
        remaining = self.started_at + age - self._clock.monotonic()
        if remaining > 0 and not self.task.done():
            alarm = asyncio.ensure_future(self._clock.sleep(remaining))
            self._callers += 1
            try:
                await asyncio.wait((self.task, alarm), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._callers -= 1
                await cancel_and_wait((alarm,))
        return self.task.done()

    async def outcome(self) -> Any:
        """Wait for the outcome and return it. A caller that is cancelled does not cancel it."""
        self._callers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._callers -= 1


class Refreshes:
    """The computations in the background of a store.

    Args:
        clock: The store's clock.
        computations: Logs failures that no caller gets.
    """

    def __init__(self, clock: Clock, computations: Computations) -> None:
        self._clock = clock
        self._computations = computations
        self._latest: dict[QualifiedKey, Refresh] = {}
        self._running: set[Refresh] = set()

    def begin(
        self,
        name: QualifiedKey,
        compute: Callable[[], Coroutine[Any, Any, Any]],
        epoch: int,
        may_join: Callable[[float, float], bool] | None,
    ) -> Refresh:
        """Return the key's computation that runs; begins one if none runs that may be joined.

        Args:
            name: Collection and key.
            compute: The computation.
            epoch: A number; one that was begun with another number is not joined.
            may_join: Returns True if one that began at one moment may be joined at another, by
                `Clock.monotonic`; `None` to begin one in any case.
        """
        refresh = self._latest.get(name)
        if (
            refresh is None
            or may_join is None
            or not is_running(refresh.task)
            or refresh.epoch != epoch
            or not may_join(refresh.started_at, self._clock.monotonic())
        ):
            task = asyncio.get_running_loop().create_task(compute())
            refresh = Refresh(task, self._clock, epoch)
            self._latest[name] = refresh
            self._running.add(refresh)
            refresh.task.add_done_callback(partial(self._end, name, refresh))
        return refresh

    def _end(self, name: QualifiedKey, refresh: Refresh, task: asyncio.Task[Any]) -> None:
        self._running.discard(refresh)
        if self._latest.get(name) is refresh:
            del self._latest[name]
        error = None if task.cancelled() else task.exception()
        if error is not None and not refresh.is_awaited:
            self._computations.warn(
                "refresh",
                "the value of key %r was computed in the background, which failed: %s",
                name[1],
                type(error).__name__,
            )

    async def close(self) -> None:
        """Cancel the computations of this loop, and wait until they have ended.

        The wait is at most `CLOSE_TIMEOUT` seconds long.
        """
        current = asyncio.current_task()
        tasks = [
            refresh.task
            for refresh in self._running
            if is_running(refresh.task) and refresh.task is not current
        ]
        await cancel_and_wait(tasks, CLOSE_TIMEOUT)
