"""Locks by name, concurrent calls, and waits with a time limit."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from itertools import groupby
from types import TracebackType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.turns import Turns, turn
from kvwrap.errors import Deadlock

T = TypeVar("T")


class KeyedLocks:
    """Locks, one for each name.

    Tasks get a lock in order of arrival. A lock that a stopped loop left behind is free for
    the next loop. A wait that could not end raises `Deadlock` instead: the task would wait for
    a lock that it holds, or that a task holds which waits for it, over any number of locks of
    any stores and threads. What a block begins (tasks, threads of the blocking view) counts as
    part of it while the block runs.
    """

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}

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
        return Hold(self._queues, name, _Turn(), shares_errors, deadlock, tells_deadlocks)

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
    async def hold_all(self, names: Iterable[Hashable]) -> AsyncIterator[None]:
        """Acquire the locks of several different names, in this order.

        All callers must use the same order, or one of two gets `Deadlock`. Other tasks get turns
        while many are acquired or released.
        """
        block = _Turn()
        outer = tuple(each for each in _turns.get() if not each.is_over)
        turns = Turns()
        holds: list[Hold] = []
        try:
            for name in names:
                if turns.are_due():
                    await turn()
                hold = Hold(self._queues, name, block)
                await hold.acquire((*outer, block))
                holds.append(hold)
            _turns.set((*outer, block))
            yield
        finally:
            block.is_over = True
            try:
                while holds:
                    if turns.are_due():
                        await turn()
                    holds.pop().release()
            finally:
                for hold in holds:  # if it was cancelled in between
                    hold.release()

    def names(self) -> list[Any]:
        """Return the names whose lock is held."""
        return [name for name, queue in self._queues.items() if not is_abandoned(queue.loop)]

    def __len__(self) -> int:
        return sum(not is_abandoned(queue.loop) for queue in self._queues.values())


class _Turn:
    """One block that holds a lock, and the locks that it waits for."""

    __slots__ = ("is_over", "waits_for")

    def __init__(self) -> None:
        self.is_over = False
        self.waits_for: list[_Queue] = []


class _Queue:
    """The turns of one name in one loop."""

    __slots__ = ("loop", "turn", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: _Turn) -> None:
        self.loop = loop
        self.turn = turn
        self.waiters: deque[tuple[_Waiter, bool]] = deque()


class _Failure(NamedTuple):
    """The error that others share, and its traceback at the end of the block that raised it."""

    error: Exception
    traceback: TracebackType | None


class Shared(NamedTuple):
    """What a block shares with those that wait for it."""

    value: Any


_Waiter = asyncio.Future[_Failure | Shared | None]
"""Gets None when it is its turn, or what another block shares."""


_turns: ContextVar[tuple[_Turn, ...]] = ContextVar("kvwrap_turns", default=())
"""The turns that the running task, and whatever began it, have had; some are over."""

_waits = threading.Lock()
"""Held to look at all `waits_for` and to add to one, since loops of several threads do so."""

if hasattr(os, "register_at_fork"):
    # Otherwise a thread that the child does not have might hold it there for ever.
    os.register_at_fork(
        before=_waits.acquire, after_in_parent=_waits.release, after_in_child=_waits.release
    )


class Hold:
    """A lock's block; see `KeyedLocks.hold`.

    `async with` returns what another block shared while this one waited, in a `Shared`; then
    this one does not hold the lock. Otherwise it returns `None`.

    Attributes:
        has_waited: True if another block held the lock before this one got it.
        shares_errors: See `KeyedLocks.hold`; a block may set it to False for itself.
    """

    __slots__ = (
        "_deadlock", "_holds", "_name", "_queue", "_queues", "_result", "_tells_deadlocks",
        "_turn", "has_waited", "shares_errors",
    )  # fmt: skip

    def __init__(
        self,
        queues: dict[Hashable, _Queue],
        name: Hashable,
        turn: _Turn,
        shares_errors: bool = False,
        deadlock: Callable[[], Exception] | None = None,
        tells_deadlocks: bool = True,
    ) -> None:
        self._queues = queues
        self._name = name
        self.shares_errors = shares_errors
        self.has_waited = False
        self._holds = True
        self._result: Shared | None = None
        self._deadlock = deadlock
        self._tells_deadlocks = tells_deadlocks
        self._turn = turn

    def share(self, value: Any) -> None:
        """Give this value to all that wait at the end of the block, instead of the lock."""
        self._result = Shared(value)

    async def __aenter__(self) -> Shared | None:
        tells = self._tells_deadlocks
        outer = tuple(turn for turn in _turns.get() if not turn.is_over) if tells else ()
        result = await self.acquire(outer)
        if tells and result is None:
            _turns.set((*outer, self._turn))
        return result

    async def acquire(self, waiting: Sequence[_Turn]) -> Shared | None:
        """Acquire the lock; these turns, if any, wait meanwhile.

        Returns what another block shared instead, if that happened.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.get(self._name)
        if queue is None or queue.loop is not loop:
            queue = self._queues[self._name] = _Queue(loop, self._turn)
            self._queue = queue
        else:
            self._queue = queue
            self.has_waited = True
            result = await self._wait(queue, waiting)
            if result is not None:
                self._holds = False
                return result
        return None

    async def _wait(self, queue: _Queue, outer: Sequence[_Turn]) -> Shared | None:
        with _waits:
            is_deadlock = _waits_for_one_of(queue, outer)
            if not is_deadlock:
                for turn in outer:
                    turn.waits_for.append(queue)
        if is_deadlock:
            raise _deadlock() if self._deadlock is None else self._deadlock()
        future: _Waiter = queue.loop.create_future()
        waiter = (future, self.shares_errors)
        queue.waiters.append(waiter)
        try:
            outcome = await future
        except BaseException:
            if not future.done() or future.cancelled():
                if waiter in queue.waiters:  # a release may have passed over it meanwhile
                    queue.waiters.remove(waiter)
            elif future.result() is None:
                self.release(None)  # it was this one's turn
            raise
        finally:
            for turn in outer:
                turn.waits_for.remove(queue)
        if isinstance(outcome, _Failure):
            # Each that waits raises it, and each would lengthen its traceback.
            raise outcome.error.with_traceback(outcome.traceback)
        if outcome is None:
            queue.turn = self._turn
        return outcome

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turn.is_over = True
        if not self._holds:
            return
        if error is None:
            self.release(self._result)
        elif self.shares_errors and isinstance(error, Exception):
            self.release(_Failure(error, error.__traceback__))
        else:
            self.release(None)

    def release(self, outcome: _Failure | Shared | None = None) -> None:
        """Pass the lock to the next, or an outcome to those that share it."""
        queue = self._queue
        waiters = queue.waiters
        if not queue.loop.is_closed():
            if outcome is not None:
                for waiter in [each for each in waiters if each[1]]:
                    waiters.remove(waiter)
                    _wake(waiter[0], outcome)
            while waiters:
                if _wake(waiters.popleft()[0], None):
                    return
        if self._queues.get(self._name) is queue:
            del self._queues[self._name]


def _wake(future: _Waiter, outcome: _Failure | Shared | None) -> bool:
    """Hand the lock, or what is shared, to a waiter. Returns False if it no longer waits."""
    if future.done():
        return False
    future.set_result(outcome)
    return True


def _waits_for_one_of(queue: _Queue, turns: Sequence[_Turn]) -> bool:
    """Return True if the lock is held by one of these turns, or by one that waits for them."""
    queues, seen = [queue], set[_Queue]()
    while turns and queues:
        queue = queues.pop()
        if queue in seen:
            continue
        seen.add(queue)
        if queue.turn in turns:
            return True
        queues += queue.turn.waits_for
    return False


def _deadlock() -> Deadlock:
    return Deadlock(
        "a call must not need what it holds itself; this one was begun within another one, and "
        "each would wait for the other"
    )


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
