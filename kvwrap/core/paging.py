"""Pages of keys, for stores whose backend has no cursors of its own."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.primitives import Page

PAGE_SIZE = 500
"""Keys in a page; also how many values `items` reads at once."""


class Snapshot:
    """The keys there were when an enumeration began; the cursor of its pages."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self.position = 0

    @staticmethod
    def page(cursor: object) -> Page:
        """The next page of the snapshot that this cursor is."""
        assert isinstance(cursor, Snapshot)
        end = cursor.position + PAGE_SIZE
        keys = cursor.keys[cursor.position : end]
        cursor.position = end
        return Page(keys, cursor if end < len(cursor.keys) else None)
