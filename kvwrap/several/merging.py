"""The keys of several stores as one enumeration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvwrap.core.primitives import Page
from kvwrap.several.together import together

Pages = Callable[[object], Coroutine[Any, Any, Page]]
"""Gives the page of a store that belongs to a cursor."""


class Merge:
    """What has been read of each store and not been given yet; the cursor of its pages.

    Args:
        sources: The pages of each store.
        ordered: Whether every store gives its keys in order, so that the whole can be.
            If not, one store comes after the other.

    No key comes twice, whichever stores have it.
    """

    def __init__(self, sources: Sequence[Pages], *, ordered: bool) -> None:
        self._sources = [_Source(pages) for pages in sources]
        self._ordered = ordered
        self._seen: set[str] = set()

    async def page(self) -> Page:
        """The next page."""
        keys = await (self._lowest() if self._ordered else self._next())
        return Page(keys, self if any(not source.exhausted for source in self._sources) else None)

    async def _lowest(self) -> list[str]:
        await together([source.fill() for source in self._sources])
        # Beyond the last key that is known of a store which has more, others may come first.
        bounds = [source.keys[-1] for source in self._sources if not source.read_all]
        bound = min(bounds) if bounds else None
        found: set[str] = set()
        for source in self._sources:
            keys = source.keys
            while keys and (bound is None or keys[0] <= bound):
                found.add(keys.popleft())
        return sorted(found)

    async def _next(self) -> list[str]:
        for source in self._sources:
            await source.fill()
            if source.keys:
                new = [key for key in source.keys if key not in self._seen]
                source.keys.clear()
                if len(self._sources) > 1:
                    self._seen.update(new)
                return new
        return []


class _Source:
    """One store's enumeration: what has been read of it, and where it goes on."""

    def __init__(self, pages: Pages) -> None:
        self.keys: deque[str] = deque()
        self.read_all = False
        self._pages = pages
        self._cursor: object = None

    @property
    def exhausted(self) -> bool:
        return self.read_all and not self.keys

    async def fill(self) -> None:
        """Have a key at hand, unless there is none left."""
        while not self.keys and not self.read_all:
            page = await self._pages(self._cursor)
            self.keys.extend(page.keys)
            self._cursor = page.cursor
            self.read_all = page.cursor is None
