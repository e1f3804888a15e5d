"""A thread for the blocking calls of files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from kvwrap.core.threads import SingleThread

P = ParamSpec("P")
T = TypeVar("T")


class Interrupted(Exception):
    """The call was cancelled, so it ends between two files; nobody waits for this error."""


class Call:
    """A call on a thread: how long it may wait, and whether anyone still waits for it.

    Args:
        timeout: Seconds that the call may wait for locks. Until `begin`, it waits for its turn,
            and that counts; what it does later does not.

    Attributes:
        left: Seconds that it may still wait for locks.
    """

    __slots__ = ("_is_cancelled", "_since", "left")

    def __init__(self, timeout: float) -> None:
        self.left = timeout
        self._since = time.monotonic()
        self._is_cancelled = False

    def begin(self) -> None:
        """Count the time since the call was made."""
        self.left -= time.monotonic() - self._since

    def cancel(self) -> None:
        """Let the call end after the file in progress; called by the event loop's thread."""
        self._is_cancelled = True

    def check(self) -> None:
        """Raise `Interrupted` if the call has been cancelled."""
        if self._is_cancelled:
            raise Interrupted


class Worker:
    """Runs functions one after another on a thread of its own.

    Args:
        name: Name of the thread.
        timeout: Seconds that a call may wait for its turn and for locks.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self._executor = SingleThread(name)
        self._timeout = timeout

    async def run(
        self, function: Callable[Concatenate[Call, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function with a new `Call` as its first argument, and return its result.

        If this is cancelled, the function does not start, or ends after the file in progress.
        `CancelledError` is raised after that, so all later calls see the same state.
        """
        call = Call(self._timeout)
        work = partial(_begin, call, partial(function, call, *args, **kwargs))
        return await self._executor.run(work, call.cancel)

    async def close(self) -> None:
        """End the thread after the functions passed to `run`."""
        last = self._executor.submit(_nothing)
        self._executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(last))


def _begin(call: Call, function: Callable[[], T]) -> T:
    call.begin()
    return function()


def _nothing() -> None:
    """Do nothing, after everything else."""
