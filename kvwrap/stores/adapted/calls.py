"""Calls of an object: on the loop or on a thread of their own, and in bounded time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from kvwrap.core.primitives import Collection
from kvwrap.core.threads import SingleThread
from kvwrap.errors import KvwrapError, StoreTimeout, StoreUnavailable


class Calls:
    """Calls methods of an object, which may be coroutine functions.

    Blocking methods are called one after another on one thread, so that objects which are not
    made for several threads take no harm, and so that no call overtakes one that hangs. A call
    that is given up before its turn never runs. One that is given up later runs to its end, and
    its result is dropped. Neither delays the end of the program. Coroutines run side by side, on
    the event loop.

    Args:
        kind: What the object is, for errors.
        store: Name of the store, for errors.
        blocking: True to use a thread.
        timeout: Seconds for one call, including the wait for its turn; None for no limit.
    """

    def __init__(self, kind: str, *, store: str, blocking: bool, timeout: float | None) -> None:
        self._kind = kind
        self._store = store
        self._timeout = timeout
        self._blocking = blocking
        self._thread: SingleThread | None = None
        self._in_progress = 0
        self._hangs = False
        self._given_up: set[asyncio.Future[Any]] = set()

    @property
    def idle(self) -> bool:
        """True while no call is in progress or waits for its turn."""
        return self._in_progress == 0

    def open(self) -> None:
        """Allow calls."""
        self._thread = SingleThread("kvwrap-adapted") if self._blocking else None
        self._hangs = False

    async def close(self, release: Callable[[], object] | None) -> None:
        """End the thread after its calls, the last of which is `release`, unless one hangs."""
        thread, self._thread = self._thread, None
        if thread is None:
            with suppress(StoreTimeout):
                await self._settle()
            for task in tuple(self._given_up):
                task.cancel()
            return
        if release is not None and not self._hangs:
            await self._wait(thread, release)
        thread.shutdown(wait=False)

    async def run(self, function: Callable[..., Any], *arguments: Any, writes: bool = False) -> Any:
        """Call a function, and return its result.

        Args:
            function: A method of the object, or a function that calls some.
            arguments: Its arguments.
            writes: True if it changes the object. If it is a coroutine function and is given up,
                it goes on, and later calls wait for its end: it may have handed the change to a
                thread, and would carry it out after a newer one.

        Raises:
            StoreTimeout: It took too long, or raised an error that says so.
            StoreUnavailable: It raised any other error, which is the cause.
        """
        call = partial(function, *arguments)
        self._in_progress += 1
        try:
            if self._thread is not None:
                result = await self._wait(self._thread, call)
            else:
                await self._settle()
                result = call()
            if not inspect.isawaitable(result):
                return result
            return await self._end(result, writes)
        except KvwrapError:
            raise
        except Exception as error:
            raise self._translate(error) from error
        finally:
            self._in_progress -= 1

    async def _end(self, result: Awaitable[Any], writes: bool) -> Any:
        task = asyncio.ensure_future(result)
        try:
            await asyncio.wait((task,), timeout=self._timeout)
            if not task.done():
                raise self._timed_out()
        finally:
            if not task.done():
                if writes:
                    self._given_up.add(task)
                    task.add_done_callback(self._forget)
                else:
                    task.cancel()
        return task.result()

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # or the loop would tell that nobody has seen it

    async def _settle(self) -> None:
        """Wait for the changes that were given up, in this event loop."""
        own = {task for task in self._given_up if task.get_loop() is asyncio.get_running_loop()}
        if own:
            _, pending = await asyncio.wait(own, timeout=self._timeout)
            if pending:
                raise self._timed_out()

    async def _wait(self, thread: SingleThread, call: Callable[[], Any]) -> Any:
        waiter = asyncio.wrap_future(thread.submit(call))
        try:
            await asyncio.wait((waiter,), timeout=self._timeout)
            if not waiter.done():
                self._hangs = True
                raise self._timed_out()
        finally:
            if not waiter.done():
                waiter.cancel()  # and with it the call, if its turn has not come
        self._hangs = False
        return waiter.result()

    def _timed_out(self) -> StoreTimeout:
        return StoreTimeout(
            f"the {self._kind} did not answer within {self._timeout} seconds: look for what it "
            "waits for, or give the store a longer timeout",
            store=self._store,
        )

    def _translate(self, error: Exception) -> StoreUnavailable:
        # The error's own text is not repeated, since it may contain a value.
        is_late = isinstance(error, TimeoutError) or type(error).__name__.startswith("Timeout")
        meant = StoreTimeout if is_late else StoreUnavailable
        return meant(
            f"the {self._kind} raised {type(error).__name__}, which is the cause of this error",
            store=self._store,
        )


class named:  # noqa: N801  # used like a function
    """Adds collection and keys to the errors of a block."""

    def __init__(
        self, collection: Collection, keys: Sequence[str], succeeded: Sequence[str] = ()
    ) -> None:
        self._collection = collection
        self._keys = keys
        self._succeeded = succeeded

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, KvwrapError):
            error.collection = self._collection
            if len(self._keys) == 1:
                error.key = self._keys[0]
            if self._succeeded:
                error.succeeded = tuple(self._succeeded)
