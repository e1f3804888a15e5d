"""Pages of keys: making them where a backend has no cursors, and asking whether there is a key."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.primitives import Collection, KeyRange, Page, Primitives

PAGE_SIZE = 500
"""Keys in a page; also how many values `items` reads at once."""


class Snapshot:
    """The keys there were when an enumeration began, and how far it has come: a cursor.

    It never changes, so that a page can be asked for again.
    """

    def __init__(self, keys: Sequence[str], position: int = 0) -> None:
        self.keys = keys
        self.position = position

    @staticmethod
    def page(cursor: object) -> Page:
        """The next page of the snapshot that this cursor is."""
        assert isinstance(cursor, Snapshot)
        end = cursor.position + PAGE_SIZE
        keys = cursor.keys
        return Page(keys[cursor.position : end], Snapshot(keys, end) if end < len(keys) else None)


async def holds_any(part: Primitives, collection: Collection) -> bool:
    """Whether the collection has a key."""
    cursor: object = None
    while True:
        page = await part.list_keys(collection, KeyRange(), cursor)
        cursor = page.cursor
        if page.keys or cursor is None:
            return bool(page.keys)
