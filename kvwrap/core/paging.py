"""Pages of keys: reading them one after another, and making them where a backend has no cursors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, Self

from kvwrap.core.primitives import Collection, KeyRange, Page

PAGE_SIZE = 500
"""Number of keys in a page; also the number of values that `items` reads at once."""

EVERY_KEY = KeyRange()
"""The range that has every key."""


class ListsKeys(Protocol):
    """A part of a stack that can list keys."""

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """Return one page, as in `Primitives`."""


def pages(
    part: ListsKeys, collection: Collection, key_range: KeyRange = EVERY_KEY
) -> AsyncIterator[Page]:
    """Iterate over the pages of the keys in a range of a collection, up to the last page."""
    return _Pages(part, collection, key_range)


class _Pages:
    """The iterator of `pages`.

    A class rather than an async generator. The event loop closes a generator that a loop
    leaves unfinished, and makes a task for each to do so.
    """

    __slots__ = ("_collection", "_cursor", "_ended", "_key_range", "_part")

    def __init__(self, part: ListsKeys, collection: Collection, key_range: KeyRange) -> None:
        self._part = part
        self._collection = collection
        self._key_range = key_range
        self._cursor: object = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        if self._ended:
            raise StopAsyncIteration
        page = await self._part.list_keys(self._collection, self._key_range, self._cursor)
        self._cursor = page.cursor
        self._ended = page.cursor is None
        return page


class Snapshot:
    """A cursor: the keys that existed when a listing began, and the position in them.

    It never changes, so a page can be requested again.
    """

    def __init__(self, keys: Sequence[str], position: int = 0) -> None:
        self.keys = keys
        self.position = position

    @staticmethod
    def page(cursor: object) -> Page:
        """Return the page that begins at this cursor, which must be a `Snapshot`."""
        assert isinstance(cursor, Snapshot)
        end = cursor.position + PAGE_SIZE
        keys = cursor.keys
        return Page(keys[cursor.position : end], Snapshot(keys, end) if end < len(keys) else None)


async def holds_any(part: ListsKeys, collection: Collection) -> bool:
    """Return True if the collection has a key."""
    async for page in pages(part, collection):
        if page.keys:
            return True
    return False
