"""The callers that wait until a full journal has room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kvwrap.core.primitives import Collection
from kvwrap.layers.shared.journal.journal import Journal


class Request(NamedTuple):
    """Changes of several keys of a collection, for which a journal should have room.

    Attributes:
        collection: The collection of the keys.
        keys: The keys.
        max_pending: The most changes that may then be pending.
    """

    collection: Collection
    keys: Sequence[str]
    max_pending: int


class Room:
    """Those who wait for room. They belong to one event loop.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: dict[asyncio.Future[None], Request] = {}

    def has_room(self, request: Request) -> bool:
        """Return True if the journal has room for these changes.

        A key with a pending change needs no room, and an empty journal has room for any batch.
        """
        return self._fits(request, self._journal.size, self._new(request))

    async def wait(self, request: Request, start: Callable[[], None]) -> None:
        """Wait until the journal has room for these changes.

        Args:
            request: The changes.
            start: Called before each wait: makes the journal send what is pending.
        """
        while not self.has_room(request):
            start()
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[woken] = request
            try:
                await woken
            except BaseException:
                if self._waiting.pop(woken, None) is None:
                    self.wake()  # others may use what this one was woken for
                raise

    def wake(self) -> None:
        """Wake those for whom there is room now, in their order, and no more than fit."""
        size = self._journal.size
        for woken, request in list(self._waiting.items()):
            if size and size >= request.max_pending:
                break
            new = self._new(request)
            if self._fits(request, size, new):
                size += new
                del self._waiting[woken]
                if not woken.done():
                    woken.set_result(None)

    def _new(self, request: Request) -> int:
        pending, collection = self._journal.pending, request.collection
        return sum((collection, key) not in pending for key in request.keys)

    @staticmethod
    def _fits(request: Request, size: int, new: int) -> bool:
        return not new or not size or size + new <= request.max_pending
