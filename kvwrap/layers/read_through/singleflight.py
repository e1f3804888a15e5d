"""One read of the far store, and all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection


class SingleFlight:
    """A read of the far store for one or more keys of a collection.

    Whoever waits for it may be cancelled without harm to it or to the others.

    Attributes:
        began: When it was begun, by the stack's clock: what it finds is at least that new.
        ahead: Whether it renews copies that are still good, and nobody waits for it.
    """

    __slots__ = (
        "_done", "_error", "_found", "_traceback", "ahead", "began", "collection", "keys",
    )  # fmt: skip

    def __init__(
        self, collection: Collection, keys: Sequence[str], began: float, ahead: bool
    ) -> None:
        self.collection = collection
        self.keys = keys
        self.began = began
        self.ahead = ahead
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._found: dict[str, Entry | None] = {}
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has landed or failed."""
        return self._done.done()

    def resolve(self, found: Sequence[Entry | None]) -> dict[str, Entry | None]:
        """Give everyone who waits what was found, in the order of the keys."""
        self._found = dict(zip(self.keys, found, strict=True))
        self._done.set_result(None)
        return self._found

    def fail(self, error: BaseException) -> None:
        """Give everyone who waits this error."""
        self._error = error
        self._traceback = error.__traceback__
        self._done.set_result(None)

    async def result(self) -> dict[str, Entry | None]:
        """What it found by key, once it has; raises the error that the far store raised."""
        if not self._done.done():
            await asyncio.shield(self._done)
        if self._error is not None:
            # Raised by each who waits: without this its traceback would grow with every one.
            raise self._error.with_traceback(self._traceback)
        return self._found
