"""Threads for calls that block: none delays another, and none delays the end of the program.

The executors of `concurrent.futures` refuse work as soon as the main thread has ended, also from
threads that continue and from `atexit`. At exit they wait for all their threads. Those of a loop
are as few as the processors, so that calls which wait for each other may occupy all of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from kvwrap.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread of its own, and return its result.

    The function sees the caller's context variables. If the caller is cancelled, the function
    runs to its end, and its result is dropped. At exit the program does not wait for it.
    """
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_EACH, call)


async def compute_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that computes, without the interpreter's lock, and return its result.

    At most as many such calls run at the same time as there are processors; others wait for
    their turn. If the caller is cancelled, a call that waits never runs, and one that runs
    continues to its end, and its result is dropped. At exit the program does not wait for it.
    """
    call = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_COMPUTING, call)


class ThreadPerCall(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own; an event loop takes it as its default."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        call = partial(fn, *args, **kwargs)
        thread = threading.Thread(target=_work, args=(future, call), name="kvwrap", daemon=True)
        if not has_started(thread):
            _work(future, call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: each thread ends with its call."""


class SingleThread(Executor):
    """Runs calls one after another in one daemon thread, which starts with the first of them.

    The thread ends after `shutdown`, or when the executor is garbage collected. A call that is
    in progress at the end of the program is abandoned.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._without_thread = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_shut_down = False
        self._process = os.getpid()
        weakref.finalize(self, self._calls.put, None).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._check_process()
        future: Future[T] = Future()
        self._put(future, partial(fn, *args, **kwargs))
        return future

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StoreUnavailable(
                "what uses a thread must be used in the process that created it; this process was "
                "forked from that one: create another store in the child"
            )

    def _put(self, answer: Future[Any] | Answer | None, call: Callable[[], Any]) -> None:
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit a call after the shutdown of the executor")
            if self._thread is None:
                thread = threading.Thread(
                    target=_work_off, args=(self._calls,), name=self._name, daemon=True
                )
                if has_started(thread):
                    self._thread = thread
            if self._thread is not None:
                self._calls.put((answer, call))
                return
        with self._without_thread:
            _work(answer, call)

    def post(self, fn: Callable[[], object]) -> None:
        """Call a function that never raises on the thread. Nobody gets its result."""
        self._check_process()
        self._put(None, fn)

    async def run(self, fn: Callable[[], T], cancel: Callable[[], object]) -> T:
        """Call a function on the thread, and return its result.

        Takes two thirds of the time of `submit` with a wait for its future. If this is cancelled,
        the function does not start, or is in progress. Then `cancel` is called, so that the
        function can end early, and `CancelledError` is raised after its end.
        """
        self._check_process()
        answer = Answer()
        self._put(answer, fn)
        try:
            return await answer.future  # type: ignore[no-any-return]  # the function's own
        except asyncio.CancelledError:
            if not answer.give_up():
                cancel()
                await answer.wait_for_end()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after the calls submitted so far, which are not cancelled."""
        if self._process != os.getpid():
            return
        with self._lock:
            if not self._is_shut_down:
                self._is_shut_down = True
                self._calls.put(None)
        if wait and self._thread is not None:
            self._thread.join()


class BoundedThreads(Executor):
    """Runs calls in a bounded number of daemon threads, in order of arrival.

    A thread ends when no call waits, so an executor that is not used has none. A forked child
    starts with an empty one: calls that wait belong to loops of the parent.

    Args:
        limit: Maximum number of threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.clear()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.clear)

    def clear(self) -> None:
        """Drop the calls that wait, and forget the threads."""
        # A new lock: a thread that the child does not have might hold the old one for ever.
        self._lock = threading.Lock()
        self._calls: deque[_Call] = deque()
        self._running = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            call = (future, partial(fn, *args, **kwargs))
            if self._running < self._limit:
                thread = threading.Thread(target=self._work_off, name="kvwrap-compute", daemon=True)
                self._running += has_started(thread)
            if self._running:
                self._calls.append(call)
                return future
        _work(*call)
        return future

    def _work_off(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._running -= 1
                    return
                call = self._calls.popleft()
            _work(*call)
            del call  # or the result would be kept while the next call runs

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the threads end with their calls."""


class GivenUp(Exception):
    """The result of a call that did not start, because it was given up."""


class Answer:
    """What a thread gives to the task that waits for it; it takes the place of a `Future`.

    The three methods of a future are called on the thread, all others on that of the loop.

    Attributes:
        future: The result, or the error.
    """

    __slots__ = ("_end", "_has_ended", "_is_given_up", "_is_started", "_loop", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()
        self._end: asyncio.Future[None] | None = None
        self._has_ended = False
        self._is_started = False
        self._is_given_up = False

    def give_up(self) -> bool:
        """Let the call not start. Returns False if it has started, or may have."""
        # Each thread sets its own flag before it looks at the other's, so one of them sees both.
        self._is_given_up = True
        if self._is_started:
            return False
        if self.future.done() and not self.future.cancelled():
            self.future.exception()  # or the loop would tell that nobody has seen it
        return True

    async def wait_for_end(self) -> None:
        """Wait for the end of a call that was given up too late, however often cancelled."""
        if not self.future.cancelled():  # the answer came in the same turn as the cancellation
            self.future.exception()  # or the loop would tell that nobody has seen it
            return
        if self._has_ended:
            return
        self._end = self._loop.create_future()
        while not self._end.done():
            with suppress(asyncio.CancelledError):  # the caller raises it
                await asyncio.wait([self._end])

    def set_running_or_notify_cancel(self) -> bool:
        self._is_started = True
        if self._is_given_up:
            self.set_exception(GivenUp())
        return not self._is_given_up

    def set_result(self, result: object) -> None:
        self._post(self.future.set_result, result)

    def set_exception(self, error: BaseException) -> None:
        self._post(self.future.set_exception, error)

    def _post(self, answer: Callable[[Any], None], content: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits
            self._loop.call_soon_threadsafe(self._set, answer, content)

    def _set(self, answer: Callable[[Any], None], content: object) -> None:
        self._has_ended = True
        if not self.future.done():
            answer(content)
        elif self._end is not None:
            self._end.set_result(None)


_Call = tuple[Future[Any] | Answer | None, Callable[[], Any]]

_EACH = ThreadPerCall()
_COMPUTING = BoundedThreads(os.cpu_count() or 1)


def has_started(thread: threading.Thread) -> bool:
    """Start a thread. Returns False if there can be none now, and its caller does its work.

    From Python 3.12 on, a program that ends starts no thread. Neither does one at its limit.
    """
    try:
        thread.start()
    except RecursionError:
        raise
    except RuntimeError:
        return False
    return True


def _work_off(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        _work(*call)
        del call  # or the last result would be kept until the next call


def _work(future: Future[Any] | Answer | None, call: Callable[[], Any]) -> None:
    if future is None:
        call()
        return
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except StopIteration as error:
        # A future of asyncio refuses this one, and its caller would wait for ever.
        reason = RuntimeError("the function raised StopIteration")
        reason.__cause__ = error
        future.set_exception(reason)
    except BaseException as error:  # whatever it is, the caller gets it
        future.set_exception(error)
    else:
        future.set_result(result)
