"""One background task at a time, which runs while there is something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from kvwrap.core.concurrency import cancel_and_wait, is_abandoned, is_running, unfinished


class Worker:
    """A task for work that no caller does itself.

    It ends when nothing is left to do, and is started again by the next `start`. A task that a
    stopped event loop left unfinished is replaced, and stays referenced: asyncio reports pending
    tasks that are garbage collected, and that loop may run again and end it.

    Args:
        work: Does what is to be done, until nothing is left.
        has_work: Returns True while something is to be done.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, None]], has_work: Callable[[], bool]
    ) -> None:
        self._work = work
        self._has_work = has_work
        self._task: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """True while no task runs, in any event loop."""
        task = self._task
        return task is None or task.done() or is_abandoned(task.get_loop())

    @property
    def is_running(self) -> bool:
        """True while the task runs in the running event loop."""
        return is_running(self._task)

    def start(self) -> None:
        """Start the task, if something is to be done and it does not run in this event loop."""
        if not self._has_work() or is_running(self._task):
            return
        if self._task is not None:
            self._abandoned = unfinished({*self._abandoned, self._task})
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def drain(self) -> None:
        """Start the task if needed, and wait until nothing is left to do."""
        self.start()
        while is_running(task := self._task):
            await asyncio.wait((task,))
            self.start()

    async def cancel(self) -> None:
        """Cancel the task of this event loop, and wait until it has ended."""
        task = self._task
        if is_running(task):
            await cancel_and_wait((task,))
