"""Background tasks, and the event loops that they belong to."""

from __future__ import annotations

import asyncio
from typing import Any


def at_work(task: asyncio.Task[Any] | None) -> bool:
    """Whether this task goes on in the running loop.

    One that was left behind, unfinished, by a loop that has been stopped never will.
    """
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()
