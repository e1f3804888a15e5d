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
    """Runs coroutines on an event loop in a daemon thread, which starts with the first of them.

    Any number of threads may call `run`. The thread ends when the portal is garbage collected.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._finalizer: weakref.finalize[..., Portal] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result. A `KeyboardInterrupt` meanwhile cancels it.

        Raises:
            UnsupportedOperation: This thread runs an event loop, which the call would block.
            StoreUnavailable: The portal was closed meanwhile, or the process was forked since the
                portal's thread started.
        """
        try:
            future = self._submit(coroutine)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise StoreUnavailable(
                "the blocking view must stay open during a call; it was closed by another thread"
            ) from None
        except BaseException:
            # Does nothing for an error of the coroutine. For an interruption of this thread, it
            # stops the call, which would otherwise continue on the other thread.
            future.cancel()
            raise

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if asyncio._get_running_loop() is not None:
            raise UnsupportedOperation(
                "a blocking view (kvwrap.sync, kvwrap.mapping) must not be called on a thread that "
                "runs an event loop, which it would block; this thread runs one. Await the methods "
                "of the store itself, or call the view in a thread: "
                "await asyncio.to_thread(view.get, key)"
            )
        if self._loop is not None and self._pid != os.getpid():
            raise StoreUnavailable(
                "a blocking view must be used in the process that created its thread; this process "
                "was forked from that one: create another view in the child"
            )
        # Under the lock: a coroutine that is submitted before the loop is stopped by `close` is
        # cancelled by it, while nothing would run one submitted afterwards. The coroutine gets the
        # caller's context variables.
        with self._lock:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop or self._start())

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(loop,), name="kvwrap-sync", daemon=True)
        thread.start()
        self._loop, self._thread, self._pid = loop, thread, os.getpid()
        self._finalizer = weakref.finalize(self, _stop, loop)
        # At exit a daemon thread ends with the process; stopping it would only cost time.
        self._finalizer.atexit = False
        return loop

    @property
    def is_running(self) -> bool:
        """True from the start of the thread until it is ended."""
        return self._loop is not None

    def close(self) -> None:
        """Cancel what runs on the thread and end it. The next call to `run` starts another one."""
        with self._lock:
            if self._loop is None:
                return
            thread, finalizer = self._thread, self._finalizer
            self._loop = self._thread = self._finalizer = None
        if self._pid == os.getpid():
            assert finalizer is not None
            assert thread is not None
            finalizer()
            thread.join()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    # At its end, a Runner cancels the remaining tasks, closes the async generators and the threads
    # of the default executor, and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
