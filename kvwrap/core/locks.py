"""The lock of a name: who holds it, and who waits for it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple

from kvwrap.errors import Deadlock


class Turn:
    """One block that holds a lock, and the locks that it waits for."""

    __slots__ = ("is_over", "waits_for")

    def __init__(self) -> None:
        self.is_over = False
        self.waits_for: list[Queue] = []


class Queue:
    """The turns of one name in one loop.

    As long as nobody waits, one object may stand for all names of a block.

    Attributes:
        turn: The block that holds the lock.
        waiters: Those that wait, in order of arrival; None before the first.
    """

    __slots__ = ("loop", "turn", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        self.loop = loop
        self.turn = turn
        self.waiters: deque[tuple[_Waiter, bool]] | None = None


class Failure(NamedTuple):
    """The error that others share, and its traceback at the end of the block that raised it."""

    error: Exception
    traceback: TracebackType | None


class Shared(NamedTuple):
    """What a block shares with those that wait for it."""

    value: Any


_Waiter = asyncio.Future[Failure | Shared | None]
"""Gets None when it is its turn, or what another block shares."""


current_turns: ContextVar[tuple[Turn, ...]] = ContextVar("kvwrap_turns", default=())
"""The turns that the running task, and whatever began it, have had; some are over."""

_waits = threading.Lock()
"""Held to look at all `waits_for` and to add to one, since loops of several threads do so."""


def is_within_another() -> bool:
    """Return True if the running block was begun within another one, over whatever store."""
    return sum(not turn.is_over for turn in current_turns.get()) > 1


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
        "_deadlock", "_holds", "_name", "_queues", "_result", "_tells_deadlocks",
        "_turn", "has_waited", "shares_errors",
    )  # fmt: skip

    def __init__(
        self,
        queues: dict[Hashable, Queue],
        name: Hashable,
        turn: Turn,
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
        outer = current_turns.get() if tells else ()
        if outer:
            outer = tuple(turn for turn in outer if not turn.is_over)
        result = None if self.take() else await self.acquire(outer)
        if tells and result is None:
            current_turns.set((*outer, self._turn))
        return result

    async def acquire(self, waiting: Sequence[Turn]) -> Shared | None:
        """Acquire the lock; these turns, if any, wait meanwhile.

        Returns what another block shared instead, if that happened.
        """
        if self.take():
            return None
        self.has_waited = True
        result = await self._wait(self._queues[self._name], waiting)
        self._holds = result is None
        return result

    def take(self) -> bool:
        """Acquire the lock if that needs no waiting. Returns False if another block holds it."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(self._name)
        if queue is not None and queue.loop is loop:
            return False
        self._queues[self._name] = Queue(loop, self._turn)
        return True

    async def _wait(self, queue: Queue, outer: Sequence[Turn]) -> Shared | None:
        waiters = queue.waiters
        if waiters is None:
            queue = self._queues[self._name] = Queue(queue.loop, queue.turn)
            waiters = queue.waiters = deque()
        with _waits:
            is_deadlock = _waits_for_one_of(queue, outer)
            if not is_deadlock:
                for turn in outer:
                    turn.waits_for.append(queue)
        if is_deadlock:
            raise _deadlock() if self._deadlock is None else self._deadlock()
        future: _Waiter = queue.loop.create_future()
        waiter = (future, self.shares_errors)
        waiters.append(waiter)
        try:
            outcome = await future
        except BaseException:
            if not future.done() or future.cancelled():
                if waiter in waiters:  # a release may have passed over it meanwhile
                    waiters.remove(waiter)
            elif future.result() is None:  # it was this one's turn
                queue.turn = self._turn
                self.release(None)
            raise
        finally:
            for turn in outer:
                turn.waits_for.remove(queue)
        if isinstance(outcome, Failure):
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
            self.release(Failure(error, error.__traceback__))
        else:
            self.release(None)

    def release(self, outcome: Failure | Shared | None = None) -> None:
        """Pass the lock to the next, or an outcome to those that share it."""
        release(self._queues, self._name, self._turn, outcome)


def release(
    queues: dict[Hashable, Queue],
    name: Hashable,
    turn: Turn,
    outcome: Failure | Shared | None = None,
) -> None:
    """Release the lock that a turn holds: see `Hold.release`."""
    queue = queues.get(name)
    if queue is None or queue.turn is not turn:
        return  # the loop was stopped meanwhile, and another one has the lock
    waiters = queue.waiters
    if waiters and not queue.loop.is_closed():
        if outcome is not None:
            for waiter in [each for each in waiters if each[1]]:
                waiters.remove(waiter)
                _wake(waiter[0], outcome)
        while waiters:
            if _wake(waiters.popleft()[0], None):
                return
    del queues[name]


def _wake(future: _Waiter, outcome: Failure | Shared | None) -> bool:
    """Hand the lock, or what is shared, to a waiter. Returns False if it no longer waits."""
    if future.done():
        return False
    future.set_result(outcome)
    return True


def _waits_for_one_of(queue: Queue, turns: Sequence[Turn]) -> bool:
    """Return True if the lock is held by one of these turns, or by one that waits for them."""
    queues, seen = [queue], set[Queue]()
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
