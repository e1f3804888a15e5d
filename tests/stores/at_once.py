"""Reads that a store makes at once, on the thread of the event loop, for tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import Store


def recorded_threads(
    monkeypatch: pytest.MonkeyPatch, table: type[Any], *names: str
) -> list[threading.Thread]:
    """Return a list that gets the thread of every call of these methods that returned something."""
    threads: list[threading.Thread] = []

    def recording(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*arguments: Any) -> Any:
            result = read(*arguments)
            threads.append(threading.current_thread())
            return result

        return reading

    for name in names:
        monkeypatch.setattr(table, name, recording(getattr(table, name)))
    return threads


async def read_without_a_pause(store: Store) -> None:
    """Read in several tasks that never pause, and return when other tasks have had turns."""
    await store.put("a", 1)
    has_ended = False

    async def read() -> int:
        reads = 0
        while not has_ended:
            assert await store.get("a") == 1
            reads += 1
        return reads

    readers = [asyncio.create_task(read()) for _ in range(8)]
    for _ in range(10):
        await asyncio.sleep(0)
    has_ended = True
    assert all(await asyncio.gather(*readers))
