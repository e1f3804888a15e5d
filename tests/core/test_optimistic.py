"""Retrying what another writer prevented."""

from __future__ import annotations

import asyncio

from kvwrap.core.optimistic import backoff


async def test_other_tasks_run_before_the_third_attempt_and_later_ones() -> None:
    others = asyncio.Event()
    asyncio.get_running_loop().call_soon(others.set)
    for attempt in (0, 1):
        await backoff(attempt)
        assert not others.is_set()
    await backoff(2)
    assert others.is_set()
