"""Locks by name, concurrent calls, and waits with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from kvwrap.core.clock import Clock


class KeyedLocks:
    """Locks, one for each name."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: Hashable) -> AsyncIterator[None]:
        """Acquire the name's lock, and release it at the end of the block."""
        lock, waiting = self._held.get(name) or (asyncio.Lock(), 0)
        self._held[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._held[name]
            if waiting == 1:
                del self._held[name]
            else:
                self._held[name] = (lock, waiting - 1)

    @asynccontextmanager
    async def hold_all(self, names: Iterable[Hashable]) -> AsyncIterator[None]:
        """Acquire the locks of several names, in this order.

        All callers must use the same order, or they deadlock.
        """
        async with AsyncExitStack() as locks:
            for name in names:
                await locks.enter_async_context(self.hold(name))
            yield

    def __len__(self) -> int:
        return len(self._held)


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Return True if this task is unfinished and belongs to the running loop.

    A task that a stopped loop left unfinished never continues.
    """
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


async def wait_for(clock: Clock, seconds: float, work: Coroutine[Any, Any, object]) -> bool:
    """Await the work for at most this many seconds of the clock, then cancel it.

    Returns True if it ended in time. Raises what the work raises.
    """
    task = asyncio.ensure_future(work)
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


T = TypeVar("T")


async def gather_outcomes(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | Exception]:
    """Await the calls concurrently, and return the result or the exception of each.

    Returns when all have ended. Cancelling it cancels all of them.
    """
    if len(calls) == 1:
        try:
            return [await calls[0]]
        except Exception as error:  # returned as the outcome
            return [error]
    outcomes: list[T | Exception] = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        outcomes.append(outcome)
    return outcomes


async def gather(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await the calls concurrently, and return their results when all have ended.

    Raises the first exception in the order of the calls.
    """
    results: list[T] = []
    for outcome in await gather_outcomes(calls):
        if isinstance(outcome, Exception):
            raise outcome
        results.append(outcome)
    return results
