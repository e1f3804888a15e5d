"""Single flight: one read of the far store, shared by all callers that wait for its keys."""

from __future__ import annotations

import asyncio
from types import TracebackType

import msgspec

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection


class SingleFlight(msgspec.Struct, eq=False):
    """A read of the far store for one or more keys of a collection.

    The call that leads it reads for itself; others join it. If the leader is cancelled, the
    flight is abandoned, and those that joined read again. A caller that joined may be cancelled,
    without consequences for the others.

    Attributes:
        collection: The collection of the keys.
        keys: The keys that are read.
        started_at: When it was started, in Unix seconds by the stack's clock. Its result is at
            least that new.
        began: The same moment by `Clock.monotonic`.
        is_refresh: True if it refreshes copies that are still fresh, and no caller waits for it.
        keeps: False if its result must not be kept, since a change of it might not be told.
        is_done: True once it has a result or an error, or was abandoned.
        is_filling: True once the near store is being filled; then the fill ends the flight.
        cancelled: How often its leader was cancelled since the store was closed meanwhile.
        leader: The task of the call that leads it.
    """

    collection: Collection
    keys: list[str]
    started_at: float
    began: float
    is_refresh: bool = False
    keeps: bool = True
    is_done: bool = False
    is_filling: bool = False
    cancelled: int = 0
    leader: asyncio.Task[object] | None = None
    _waiters: list[asyncio.Future[None]] | None = None
    _entries: dict[str, Entry | None] | None = None
    _error: BaseException | None = None
    _traceback: TracebackType | None = None

    def resolve(self, entries: dict[str, Entry | None]) -> None:
        """Hand the entries to all that joined."""
        self._entries = entries
        self.is_done = True
        if self._waiters is not None:
            self._wake(self._waiters)

    def fail(self, error: BaseException) -> None:
        """Raise this error in all that joined."""
        self._error = error
        self._traceback = error.__traceback__
        self.abandon()

    def abandon(self) -> None:
        """Let those that joined read again."""
        self.is_done = True
        if self._waiters is not None:
            self._wake(self._waiters)

    @staticmethod
    def _wake(waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def result(self) -> dict[str, Entry | None] | None:
        """Wait for the read. Returns the entries by key, or None if the flight was abandoned.

        Raises the error of the far store.
        """
        if not self.is_done:
            if self._waiters is None:
                self._waiters = []
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            # Every waiting caller raises it, and each would lengthen its traceback.
            raise self._error.with_traceback(self._traceback)
        return self._entries
