"""Waiting for something, but only for so long on a given clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from kvwrap.core.clock import Clock


async def within(clock: Clock, seconds: float, waiting: Coroutine[Any, Any, object]) -> bool:
    """Whether it ended in time; if not, it has been cancelled. What it raises is raised."""
    task = asyncio.ensure_future(waiting)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        alarm.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)
