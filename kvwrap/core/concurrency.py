"""Locks by name, concurrent calls, and waits with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import groupby
from math import inf
from typing import Any, Final, TypeGuard, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.locks import Hold, Queue, Turn, current_turns, release
from kvwrap.core.turns import Turns, turn

T = TypeVar("T")

CANCEL_AGAIN: Final = 5.0
"""Seconds after which a task that goes on is cancelled again: more than a clean-up takes."""


class KeyedLocks:
    """Locks, one for each name.

    Tasks get a lock in order of arrival. A lock that a stopped loop left behind is free for
    the next loop. A wait that could not end raises `Deadlock` instead: the task would wait for
    a lock that it holds, or that a task holds which waits for it, over any number of locks of
    any stores and threads. What a block begins (tasks, threads of the blocking view) counts as
    part of it while the block runs.
    """

    def __init__(self) -> None:
        self._queues: dict[Hashable, Queue] = {}

    def hold(
        self,
        name: Hashable,
        *,
        shares_errors: bool = False,
        deadlock: Callable[[], Exception] | None = None,
        tells_deadlocks: bool = True,
    ) -> Hold:
        """Acquire the name's lock, and release it at the end of the block (`async with`).

        Args:
            name: The name.
            shares_errors: True to raise the error with which another such block ends in all
                that wait then, instead of letting them try one after another. A cancelled block
                passes the lock to the next. What a block shares with `Hold.share` also reaches
                those with True only.
            deadlock: Returns the error to raise in place of a general `Deadlock`.
            tells_deadlocks: False to wait even for a block that began this one, for blocks that
                begin tasks without waiting for them.
        """
        return Hold(self._queues, name, Turn(), shares_errors, deadlock, tells_deadlocks)

    def hold_keys(
        self, collection: str | None, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[object]:
        """Acquire the locks of these keys, and release them at the end of the block.

        They are acquired in sorted order, so that no two batches wait for each other.
        """
        if len(keys) == 1:
            return self.hold((collection, keys[0]))
        return self.hold_all((collection, key) for key, _ in groupby(sorted(keys)))

    @asynccontextmanager
    async def hold_each(
        self, names: Iterable[T], *, deadlock: Callable[[], Exception] | None = None
    ) -> AsyncIterator[dict[T, Hold]]:
        """Acquire the locks of several different names, in this order, each with a `Hold`.

        All callers must use the same order. A block that waits gets no result and no error of
        another one. It may share its own by the attributes and methods of each `Hold`.
        """
        block = Turn()
        outer = tuple(each for each in current_turns.get() if not each.is_over)
        holds: dict[T, Hold] = {}
        error: BaseException | None = None
        try:
            for name in names:
                hold = Hold(self._queues, name, block, deadlock=deadlock)
                await hold.acquire((*outer, block))
                holds[name] = hold
            current_turns.set((*outer, block))
            yield holds
        except BaseException as raised:
            error = raised
            raise
        finally:
            for hold in holds.values():
                await hold.__aexit__(type(error) if error else None, error, None)
            block.is_over = True

    @asynccontextmanager
    async def hold_all(self, names: Iterable[Hashable]) -> AsyncIterator[None]:
        """Acquire the locks of several different names, in this order.

        All callers must use the same order, or one of two gets `Deadlock`. Other tasks get turns
        while many are acquired or released.
        """
        block = Turn()
        outer = tuple(each for each in current_turns.get() if not each.is_over)
        queues, queue = self._queues, Queue(asyncio.get_running_loop(), block)
        turns = Turns()
        held: list[Hashable] = []
        try:
            for name in names:
                if turns.are_due():
                    await turn()
                other = queues.get(name)
                if other is None or other.loop is not queue.loop:
                    # One object for all: thousands would be visited by every garbage collection.
                    queues[name] = queue
                else:
                    await Hold(queues, name, block).acquire((*outer, block))
                held.append(name)
            current_turns.set((*outer, block))
            yield
        finally:
            block.is_over = True
            try:
                while held:
                    if turns.are_due():
                        await turn()
                    release(queues, held.pop(), block)
            finally:
                for name in held:  # if it was cancelled in between
                    release(queues, name, block)

    def names(self) -> list[Any]:
        """Return the names whose lock is held."""
        return [name for name, queue in self._queues.items() if not is_abandoned(queue.loop)]

    def __contains__(self, name: Hashable) -> bool:
        queue = self._queues.get(name)
        return queue is not None and not is_abandoned(queue.loop)

    def __len__(self) -> int:
        return sum(not is_abandoned(queue.loop) for queue in self._queues.values())

    def __bool__(self) -> bool:
        return any(not is_abandoned(queue.loop) for queue in self._queues.values())


def is_abandoned(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return True if nothing that this loop left unfinished continues: another loop runs now."""
    if loop is None or loop.is_closed():
        return True
    if loop.is_running():
        return False
    running = asyncio._get_running_loop()
    return running is not None and running is not loop


def is_running(task: asyncio.Task[Any] | None) -> TypeGuard[asyncio.Task[Any]]:
    """Return True if this task is unfinished and belongs to the running loop.

    A task that a stopped loop left unfinished never continues.
    """
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


def unfinished(tasks: Iterable[asyncio.Task[T]]) -> set[asyncio.Task[T]]:
    """Return the tasks that may still end: they are not done, and their loop is not closed.

    Those of a stopped loop must stay referenced, since it may run again to end them: asyncio
    reports tasks that are garbage collected while they are pending.
    """
    return {task for task in tasks if not (task.done() or task.get_loop().is_closed())}


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]],
    timeout: float = inf,  # noqa: ASYNC109  # tasks are still pending then, and no error
) -> None:
    """Cancel tasks of the running loop, and wait until they have ended.

    A task that goes on is cancelled again and again, since it may have lost its cancellation: in
    Python 3.11 `asyncio.wait_for` returns what arrives at the same moment, and some drivers
    suppress it. What the tasks raise is theirs to tell.

    Args:
        tasks: The tasks.
        timeout: Seconds after which those that still go on are left alone.
    """
    left = set(tasks)
    deadline = asyncio.get_running_loop().time() + timeout
    while left:
        for task in left:
            task.cancel()
        remaining = deadline - asyncio.get_running_loop().time()
        _, left = await asyncio.wait(left, timeout=min(CANCEL_AGAIN, remaining))
        if remaining <= CANCEL_AGAIN:
            return


def uncancel(task: asyncio.Task[Any], times: int) -> int:
    """Take back this many requests to cancel a task. Returns how many are left."""
    for _ in range(times):
        task.uncancel()
    return task.cancelling()


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
        await cancel_and_wait((task, alarm))
        if not task.cancelled():
            task.exception()  # seen, though not raised


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
