"""Locks by name, calls made together, and waits with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from kvwrap.core.clock import Clock


class KeyedLocks:
    """Lets one task at a time through for each name."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: Hashable) -> AsyncIterator[None]:
        """Wait for the name's turn, and keep it for the length of the block."""
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
        """As `hold`, for several names, in this order; one that all callers keep, or they jam."""
        async with AsyncExitStack() as held:
            for name in names:
                await held.enter_async_context(self.hold(name))
            yield

    def __len__(self) -> int:
        return len(self._held)


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Whether this task goes on in the running loop.

    One that was left behind, unfinished, by a loop that has been stopped never will.
    """
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


async def wait_for(clock: Clock, seconds: float, waiting: Coroutine[Any, Any, object]) -> bool:
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


T = TypeVar("T")


async def gather_outcomes(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | Exception]:
    """What each call gave or raised, when all have ended; if cancelled, all of them are."""
    if len(calls) == 1:
        try:
            return [await calls[0]]
        except Exception as error:  # it is the outcome
            return [error]
    found: list[T | Exception] = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        found.append(outcome)
    return found


async def gather(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each call gave; the first error in their order, when all have ended."""
    found: list[T] = []
    for outcome in await gather_outcomes(calls):
        if isinstance(outcome, Exception):
            raise outcome
        found.append(outcome)
    return found
