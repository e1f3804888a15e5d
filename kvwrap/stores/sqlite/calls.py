"""The calls of tasks on a thread that owns a connection, and their answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from kvwrap.core.threads import SingleThread

T = TypeVar("T")

_PAUSE: Final = 0.002
"""Seconds between two attempts to interrupt a call."""


class Interrupted(Exception):
    """The call was cancelled, so what it did is undone; nobody waits for this error."""


class Call:
    """A function for the thread, and the answer that a task waits for.

    Attributes:
        changes: True if it belongs into a transaction that changes the file.
        since: When it was made, by the monotonic clock.
        is_cancelled: True if its task has given it up. Then nobody reads its answer.
        is_waiting: True until the thread takes it.
        has_ended: True once it has no effect any more on what others see.
        result: What the function returned.
        error: What it raised.
    """

    __slots__ = (
        "answer",
        "args",
        "changes",
        "error",
        "function",
        "has_ended",
        "is_cancelled",
        "is_waiting",
        "result",
        "since",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[object, ...],
        changes: bool,
        answer: asyncio.Future[Any],
    ) -> None:
        self.function = function
        self.args = args
        self.changes = changes
        self.answer = answer
        self.since = time.monotonic()
        self.is_cancelled = False
        self.is_waiting = True
        self.has_ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def execute(self) -> None:
        """Call the function and keep its result."""
        self.result = self.function(*self.args)


class Calls:
    """The calls that wait for one thread, and the one whose function it runs.

    Args:
        name: Name of the thread, a daemon.
        work: Takes calls with `take` until no more wait, and passes them to `end`; runs on the
            thread.
        interrupt: Stops what the thread executes; called on other threads.
    """

    def __init__(self, name: str, work: Callable[[], None], interrupt: Callable[[], None]) -> None:
        self._executor = SingleThread(name)
        self._work = work
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._running: Call | None = None
        self._is_working = False

    async def make(self, function: Callable[..., T], args: tuple[object, ...], changes: bool) -> T:
        """Wait until the thread has called the function, and return its result.

        If this is cancelled, the function is not called, or it is interrupted and undone, unless
        what it did is being committed. `CancelledError` is raised after that, so all later calls,
        on other connections too, see the same state.
        """
        call = Call(function, args, changes, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(call)
            begins = not self._is_working
            self._is_working = True
        if begins:
            self._begin_work(call)
        try:
            return await call.answer  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            await self._give_up(call)
            raise

    def _begin_work(self, call: Call) -> None:
        # Without the lock: where no thread can be started any more, the work is done here.
        try:
            self._executor.submit(self._work)
        except BaseException:
            with self._lock:
                self._is_working = False
                self._waiting.remove(call)
            raise

    async def _give_up(self, call: Call) -> None:
        with self._lock:
            call.is_cancelled = True
            if call.is_waiting:
                return  # the thread passes it by
        while not call.has_ended:
            with self._lock:
                if self._running is call:
                    self._interrupt()
            with suppress(asyncio.CancelledError):  # raised by the caller, when it has ended
                await asyncio.sleep(_PAUSE)

    # -- on the thread -----------------------------------------------------------------

    def first(self) -> Call | None:
        """Return the call that has waited for the longest time; None ends the thread's work."""
        with self._lock:
            while self._waiting:
                if not self._waiting[0].is_cancelled:
                    return self._waiting[0]
                self._waiting.popleft().has_ended = True
            self._is_working = False
            return None

    def take(self, most: int) -> list[Call]:
        """Return the next calls, up to this number, of which all change the file or none does."""
        taken: list[Call] = []
        with self._lock:
            waiting = self._waiting
            while waiting and len(taken) < most:
                if waiting[0].is_cancelled:
                    waiting.popleft().has_ended = True
                elif taken and waiting[0].changes != taken[0].changes:
                    break
                else:
                    waiting[0].is_waiting = False
                    taken.append(waiting.popleft())
        return taken

    def put_back(self, calls: Sequence[Call]) -> None:
        """Make calls wait again, before all others, because what they did is undone."""
        with self._lock:
            for call in calls:
                call.is_waiting = True
            self._waiting.extendleft(reversed(calls))

    def begin(self, call: Call | None) -> None:
        """Make a call the one to interrupt when it is cancelled; None for no call.

        Raises:
            Interrupted: It has been cancelled before.
        """
        with self._lock:
            self._running = call
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if the call that the thread runs was cancelled."""
        if self._running is not None and self._running.is_cancelled:
            raise Interrupted

    def end(self, calls: Iterable[Call]) -> None:
        """Give the answers of calls to their tasks."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
        for call in calls:
            call.has_ended = True
            by_loop.setdefault(call.answer.get_loop(), []).append(call)
        for loop, answered in by_loop.items():
            with suppress(RuntimeError):  # the loop has been closed, and nobody waits
                loop.call_soon_threadsafe(_answer, answered)

    async def close(self, function: Callable[[], None]) -> None:
        """Call a function after all calls, and end the thread."""
        closing = self._executor.submit(function)
        self._executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))


def _answer(calls: list[Call]) -> None:
    for call in calls:
        if call.answer.done():
            continue
        if call.error is None:
            call.answer.set_result(call.result)
        else:
            call.answer.set_exception(call.error)
