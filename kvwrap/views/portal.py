"""An event loop in a thread of its own, for callers that block."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from kvwrap.errors import StoreUnavailable, UnsupportedOperation

T = TypeVar("T")


class Portal:
    """Runs coroutines on a loop in a daemon thread, begun with the first of them.

    Any number of threads may call `run`. A portal that is no longer referred to ends its
    thread by itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._end: weakref.finalize[..., Portal] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine gives, when it has; a `KeyboardInterrupt` meanwhile cancels it.

        Raises:
            UnsupportedOperation: This thread runs an event loop, which would be held up.
            StoreUnavailable: The portal was closed meanwhile, or the process forked since its
                thread began.
        """
        try:
            future = self._submitted(coroutine)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise StoreUnavailable("the blocking view was closed during this call") from None
        except BaseException:
            # Does nothing if it is the coroutine's own error; else it is an interruption of
            # this thread, which must not leave the call running behind its back.
            future.cancel()
            raise

    def _submitted(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if asyncio._get_running_loop() is not None:
            raise UnsupportedOperation(
                "a blocking view would hold up the event loop of this thread: await the store's "
                "own methods here, or call the view with asyncio.to_thread"
            )
        if self._loop is not None and self._pid != os.getpid():
            raise StoreUnavailable(
                "the process was forked, and the thread of this blocking view stayed behind: "
                "make the view in the child"
            )
        # Under the lock, so that what is submitted comes before the stop of `close`, which
        # then cancels it, and never after, where nobody would run it. The caller's context
        # variables go along.
        with self._lock:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop or self._begun())

    def _begun(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(loop,), name="kvwrap-sync", daemon=True)
        thread.start()
        self._loop, self._thread, self._pid = loop, thread, os.getpid()
        self._end = weakref.finalize(self, _stop, loop)
        # At exit a daemon thread goes with the process; stopping it would only wait.
        self._end.atexit = False
        return loop

    @property
    def runs(self) -> bool:
        """Whether the thread has begun and not ended."""
        return self._loop is not None

    def close(self) -> None:
        """End the thread, once what runs on it has been cancelled; begun again when wanted."""
        with self._lock:
            if self._loop is None:
                return
            thread, end = self._thread, self._end
            self._loop = self._thread = self._end = None
        if self._pid == os.getpid():
            assert end is not None
            assert thread is not None
            end()
            thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    # A Runner with a loop of ours: it cancels what is left, ends the async generators and
    # the threads of the default executor, and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
