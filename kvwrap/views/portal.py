"""An event loop in a thread of its own, for callers that block."""

from __future__ import annotations

import asyncio
import contextvars
import os
import selectors
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from sys import is_finalizing
from types import AsyncGeneratorType
from typing import Any, Generic, NoReturn, TypeVar

from kvwrap.core.threads import ThreadPerCall
from kvwrap.errors import StoreTimeout, StoreUnavailable, UnsupportedOperation

T = TypeVar("T")

END_TIMEOUT = 10.0
"""Seconds for which `close` waits for the thread, whose tasks have been cancelled."""


class Portal:
    """Runs coroutines on an event loop in a daemon thread, which starts with the first of them.

    Any number of threads may call `run`. The thread ends when the portal is garbage collected.

    Args:
        blocks_loops: True to block a thread even if it runs an event loop.
    """

    def __init__(self, *, blocks_loops: bool = False) -> None:
        self._blocks_loops = blocks_loops
        # Reentrant: a signal handler or a finalizer may use the portal in the middle of a call.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._finalizer: weakref.finalize[..., Portal] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T], caller: Caller | None = None) -> T:
        """Run a coroutine and return its result. A `KeyboardInterrupt` meanwhile cancels it.

        Args:
            coroutine: The coroutine.
            caller: What the coroutine uses to call functions on this thread.

        Raises:
            UnsupportedOperation: This thread runs an event loop, which the call would block, or
                the program replaces threads by greenlets.
            StoreUnavailable: The portal was closed meanwhile, the process was forked since the
                portal's thread started, or the program has ended.
        """
        call = _Call(coroutine, caller or Caller())
        try:
            self.check()
            self._submit(call)
            task = call.wait()
        except BaseException:
            # An interruption of this thread. The call would otherwise continue on the other one.
            call.cancel()
            raise
        try:
            return task.result()
        except asyncio.CancelledError:
            raise StoreUnavailable(
                "the blocking view must stay open during a call; it was closed by another thread"
            ) from None
        except _Exit as carrier:
            raise carrier.error from None

    def check(self) -> None:
        """Raise the error with which `run` would refuse a coroutine here, if it would."""
        if is_finalizing():
            # Python has stopped the thread for good; waiting for it would never end.
            raise StoreUnavailable(
                "a blocking view must be used before the program has ended; Python is removing "
                "its objects already: use the view in an `atexit` handler at the latest"
            )
        if not self._blocks_loops and asyncio._get_running_loop() is not None:
            raise UnsupportedOperation(
                "a blocking view (kvwrap.sync, kvwrap.mapping) must not be called on a thread that "
                "runs an event loop, which it would block; this thread runs one. Await the methods "
                "of the store itself, or call the view in a thread: "
                "await asyncio.to_thread(view.get, key)"
            )
        if self.is_foreign:
            raise StoreUnavailable(
                "a blocking view must be used in the process that created its thread; this process "
                "was forked from that one: create another view in the child"
            )

    def _submit(self, call: _Call[T]) -> None:
        # Under the lock: a coroutine that is submitted before the loop is stopped by `close` is
        # cancelled by it, while nothing would run one submitted afterwards. The coroutine gets the
        # caller's context variables.
        with self._lock:
            loop = self._loop or self._start()
            try:
                call.submit(loop)
            except RuntimeError as error:
                if not loop.is_closed():
                    raise
                raise StoreUnavailable("the blocking view's thread has ended") from error

    def _start(self) -> asyncio.AbstractEventLoop:
        if selectors.DefaultSelector.__module__ != selectors.__name__:
            raise _no_threads()
        loop = asyncio.new_event_loop()
        begun: Future[bool] = Future()
        starter = threading.get_native_id()
        thread = threading.Thread(
            target=_run_loop, args=(loop, starter, begun), name="kvwrap-sync", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            loop.close()
            if isinstance(error, RecursionError):
                raise
            raise StoreUnavailable("the blocking view's thread cannot be started") from error
        finalizer = weakref.finalize(self, _stop, loop, os.getpid())
        # At exit a daemon thread ends with the process; stopping it would only cost time.
        finalizer.atexit = False
        try:
            is_thread = begun.result()
        except BaseException:
            finalizer()
            raise
        if not is_thread:
            finalizer.detach()
            loop.close()
            raise _no_threads()
        if self._loop is not None:  # started meanwhile, by a signal handler
            finalizer()
            return self._loop
        self._loop, self._thread, self._pid = loop, thread, os.getpid()
        self._finalizer = finalizer
        return loop

    @property
    def is_foreign(self) -> bool:
        """True if the process was forked since the thread started, which it does not have."""
        return self._pid not in (0, os.getpid())

    def abandon(self, iterator: AsyncIterator[Any]) -> None:
        """Close an asynchronous iterator of the loop, if it is a generator, without waiting.

        For finalizers, which run on any thread, in the middle of anything, and at exit.
        """
        loop = self._loop
        if loop is not None and not self.is_foreign:
            # Of a closed loop: it closed its generators itself.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_close, loop, iterator)

    def close(self) -> None:
        """Cancel what runs on the thread and end it. The next call to `run` starts another one.

        Raises:
            StoreTimeout: The thread has not ended, because a task does not let itself be cancelled.
        """
        with self._lock:
            if self._loop is None:
                return
            thread, finalizer = self._thread, self._finalizer
            self._loop = self._thread = self._finalizer = None
            self._pid = 0
        assert finalizer is not None
        assert thread is not None
        finalizer()
        thread.join(END_TIMEOUT)
        if thread.is_alive():
            raise StoreTimeout(
                f"the blocking view's thread did not end within {END_TIMEOUT:g} s of its close, "
                "because a task on it ignores its cancellation"
            )


def _no_threads() -> UnsupportedOperation:
    return UnsupportedOperation(
        "a blocking view must have a thread and an event loop of the system; this program replaces "
        "threads or selectors by greenlets, as gevent.monkey.patch_all() and eventlet do, and a "
        "call would never end: use kvwrap in a process without them"
    )


class Caller:
    """The thread that waits for a coroutine on the loop, and meanwhile calls functions for it."""

    def __init__(self) -> None:
        self._messages: SimpleQueue[Callable[[], None] | asyncio.Task[Any]] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outcomes: set[asyncio.Future[Any]] = set()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take calls of what runs on this loop, in the present context, until `end`."""
        self._loop = loop
        _caller.set(self)

    @property
    def is_waiting(self) -> bool:
        """True if the thread waits, and takes calls of what runs on this loop."""
        return self._loop is not None and self._loop is asyncio._get_running_loop()

    def end(self, task: asyncio.Task[Any]) -> None:
        """Let the thread return the finished task."""
        self._loop = None
        self._messages.put(task)

    def leave(self) -> None:
        """Fail the calls that the thread has not finished, since it waits no more."""
        self._loop = None
        for outcome in self._outcomes:
            _answer(outcome, partial(_raise, _interrupted()))

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function on the caller's thread and return its result.

        The function sees the context variables of this coroutine. An exception that is not an
        `Exception`, such as `KeyboardInterrupt`, ends the caller's wait, which cancels this.

        Raises:
            StoreUnavailable: The thread was interrupted, and waits no more.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            raise _interrupted()
        context = contextvars.copy_context()
        outcome: asyncio.Future[Callable[[], T]] = loop.create_future()
        self._outcomes.add(outcome)
        outcome.add_done_callback(self._outcomes.discard)

        def work() -> None:
            answer: Callable[[], T]
            try:
                answer = partial(_same, context.run(function))
            except Exception as error:  # raised where the result is awaited
                answer = partial(_raise, error)
            with suppress(RuntimeError):  # of a closed loop, which cancelled the coroutine
                loop.call_soon_threadsafe(_answer, outcome, answer)

        self._messages.put(work)
        return (await outcome)()

    def wait(self) -> asyncio.Task[Any]:
        """Wait for the finished task, and call what it asks for meanwhile."""
        while not isinstance(message := self._messages.get(), asyncio.Task):
            message()
        return message


_caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def waiting_caller() -> Caller | None:
    """Return the thread that waits, in a blocking view, for what runs now; None if none does.

    What a call began may continue after it. Then nothing waits for it.
    """
    caller = _caller.get()
    return caller if caller is not None and caller.is_waiting else None


def is_begun_by_view() -> bool:
    """Return True if what runs was begun by a call of a blocking view, which may have ended."""
    return _caller.get() is not None


def _interrupted() -> StoreUnavailable:
    return StoreUnavailable(
        "the thread that called the blocking view must wait for its result; it was interrupted, "
        "so what it had to do for others may have had no effect"
    )


def _raise(error: Exception) -> NoReturn:
    raise error


def _same(result: T) -> T:
    return result


def _answer(outcome: asyncio.Future[Any], answer: Callable[[], Any]) -> None:
    if not outcome.done():  # the coroutine was cancelled meanwhile
        outcome.set_result(answer)


class _Call(Generic[T]):
    """One coroutine on the loop, and the thread that waits for it.

    A queue hands over the finished task. The lock inside a future of `concurrent.futures` is held
    by the waiting thread for moments, also while it runs a signal handler; a handler that uses
    the portal would then wait for a loop that waits for the lock.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], caller: Caller) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._coroutine = coroutine
        self._caller = caller
        self._task: asyncio.Task[T] | None = None

    def submit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop begin the task."""
        self._loop = loop
        loop.call_soon_threadsafe(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._caller.begin(loop)
        self._task = loop.create_task(_contain(self._coroutine))
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        self._coroutine.close()  # not begun by a task that is cancelled before its first step
        self._caller.end(task)

    def wait(self) -> asyncio.Task[T]:
        """Wait on the caller's thread. Returns the finished task."""
        return self._caller.wait()

    def cancel(self) -> None:
        """Cancel the task, from another thread, wherever `submit` was interrupted."""
        if self._loop is None or self._loop.is_closed():
            self._coroutine.close()
            return
        with suppress(RuntimeError):  # of a loop closed meanwhile, which cancelled it
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()
            self._caller.leave()


class _Exit(BaseException):
    """Carries an exception that would end the loop to the caller that it is for."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def _contain(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (KeyboardInterrupt, SystemExit) as error:
        raise _Exit(error) from None


def _run_loop(loop: asyncio.AbstractEventLoop, starter: int, begun: Future[bool]) -> None:
    if threading.get_native_id() == starter:
        begun.set_result(False)
        return
    loop.set_default_executor(ThreadPerCall())
    try:
        # At its end, a Runner cancels the remaining tasks, and closes async generators and loop.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            begun.set_result(True)
            runner.get_loop().run_forever()
    except RuntimeError as error:
        # Before it closes the loop, it starts a thread that waits for the executor, which has
        # nothing to wait for. From Python 3.12 on, a program that ends starts none.
        if "interpreter shutdown" not in str(error):
            raise


def _stop(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    # A forked child shares what wakes the loop with its parent.
    if pid == os.getpid():
        with suppress(RuntimeError):  # closed already
            loop.call_soon_threadsafe(loop.stop)


def _close(loop: asyncio.AbstractEventLoop, generator: AsyncIterator[Any]) -> None:
    # One that runs still is being cancelled, and ends by that.
    if isinstance(generator, AsyncGeneratorType) and not generator.ag_running:
        loop.create_task(generator.aclose())
