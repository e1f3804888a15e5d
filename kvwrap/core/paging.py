"""Pages of keys: reading them one after another, and making them where a backend has no cursors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Protocol, Self

from msgspec.structs import replace

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.primitives import Collection, KeyRange, Page
from kvwrap.errors import UnsupportedOperation

PAGE_SIZE = 500
"""Number of keys in a page; also the number of values that `items` reads at once."""

EVERY_KEY = KeyRange()
"""The range that has every key."""


class ListsKeys(Protocol):
    """A part of a stack that can list keys."""

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """Return one page, as in `Primitives`."""


class ListsKeysOf(ListsKeys, Protocol):
    """A part that also tells its capabilities."""

    @property
    def capabilities(self) -> Capabilities:
        """As in `Primitives`."""


async def check_listing(part: ListsKeysOf, base: ListsKeysOf, what: str, name: str) -> None:
    """Check that a part of a stack can list keys, for what needs that.

    Args:
        part: The part.
        base: The backend of its stack, whose own error says what it can do about it.
        what: What needs it, with its article.
        name: Name of the store, for the error.

    Raises:
        UnsupportedOperation: It cannot.
    """
    if Capability.KEYS in part.capabilities:
        return
    reason = "this one cannot"
    try:
        if Capability.KEYS not in base.capabilities:
            await base.list_keys(None, EVERY_KEY, None)
    except UnsupportedOperation as error:
        reason = error.message
    raise UnsupportedOperation(
        f"{what} that can enumerate its keys: {reason}", store=name
    ) from None


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


async def ordered_batches(
    part: ListsKeysOf, collection: Collection, key_range: KeyRange, size: int
) -> AsyncGenerator[Sequence[str], None]:
    """Yield the keys of a range after its start, which is excluded, in their order, in batches.

    A part that lists in no order is listed first and sorted, with all names in memory. Use it
    within `contextlib.aclosing`.
    """
    start, ordered = key_range.start, Capability.RANGE in part.capabilities
    unsorted: list[str] = []
    listed = key_range if ordered else replace(key_range, start=None)
    async for page in pages(part, collection, listed):
        keys = [key for key in page.keys if start is None or key > start]
        if ordered:
            for batch in _split(keys, size):
                yield batch
        else:
            unsorted += keys
    for batch in _split(sorted(unsorted), size):
        yield batch


def _split(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


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
