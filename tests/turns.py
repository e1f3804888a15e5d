"""Counts the turns that other tasks get during a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def turns_during(call: Awaitable[object]) -> int:
    """Await a call. Returns how often another task that was always ready could run meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    await asyncio.sleep(0)
    try:
        await call
        return turns
    finally:
        counting.cancel()
