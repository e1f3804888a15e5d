"""Single flight: one read of the far store, shared by all callers that wait for its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection


class SingleFlight:
    """A read of the far store for one or more keys of a collection.

    A caller that waits for it may be cancelled. The read and the other callers are unaffected.

    Attributes:
        collection: The collection of the keys.
        keys: The keys that are read.
        started_at: When it was started, in Unix seconds by the stack's clock. Its result is at
            least that new.
        is_refresh: True if it refreshes copies that are still fresh, and no caller waits for it.
    """

    __slots__ = (
        "_done", "_entries", "_error", "_traceback", "collection", "is_refresh", "keys",
        "started_at",
    )  # fmt: skip

    def __init__(
        self, collection: Collection, keys: Sequence[str], started_at: float, is_refresh: bool
    ) -> None:
        self.collection = collection
        self.keys = keys
        self.started_at = started_at
        self.is_refresh = is_refresh
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._entries: dict[str, Entry | None] = {}
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    @property
    def is_done(self) -> bool:
        """True once it has a result or an error."""
        return self._done.done()

    def resolve(self, entries: Sequence[Entry | None]) -> dict[str, Entry | None]:
        """Hand the entries, in the order of the keys, to all waiting callers.

        Returns the entries by key.
        """
        self._entries = dict(zip(self.keys, entries, strict=True))
        self._done.set_result(None)
        return self._entries

    def fail(self, error: BaseException) -> None:
        """Raise this error in all waiting callers."""
        self._error = error
        self._traceback = error.__traceback__
        self._done.set_result(None)

    async def result(self) -> dict[str, Entry | None]:
        """Wait for the read. Returns the entries by key; raises the error of the far store."""
        if not self._done.done():
            await asyncio.shield(self._done)
        if self._error is not None:
            # Every waiting caller raises it, and each would lengthen its traceback.
            raise self._error.with_traceback(self._traceback)
        return self._entries
