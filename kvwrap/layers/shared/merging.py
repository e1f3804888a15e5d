"""The keys of several stores as one enumeration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from typing import Any

from kvwrap.core.concurrency import gather
from kvwrap.core.primitives import Page

FetchPage = Callable[[object], Coroutine[Any, Any, Page]]
"""Gives the page of a store that belongs to a cursor."""


class MergeCursor:
    """The cursor of a merged enumeration: one place in it, whose page can be asked for again.

    Args:
        sources: The pages of each store.
        ordered: Whether every store gives its keys in order, so that the whole can be.
            If not, one store comes after the other.

    No key comes twice, whichever stores have it.
    """

    def __init__(self, sources: Sequence[FetchPage], *, ordered: bool) -> None:
        self._reading = _Reading([_Source(pages) for pages in sources], ordered)
        self._page: Page | None = None

    async def page(self) -> Page:
        """The page that begins here."""
        if self._page is None:
            keys = await self._reading.keys()
            # A copy made before this place has its page is the next place.
            self._page = Page(keys, None if self._reading.is_over else copy(self))
        return self._page


class _Reading:
    """What has been read of each store and not been given yet."""

    def __init__(self, sources: Sequence[_Source], ordered: bool) -> None:
        self._sources = sources
        self._ordered = ordered
        self._seen: set[str] = set()

    @property
    def is_over(self) -> bool:
        return all(source.exhausted for source in self._sources)

    async def keys(self) -> list[str]:
        """The keys that come next."""
        return await (self._lowest() if self._ordered else self._next())

    async def _lowest(self) -> list[str]:
        await gather([source.fill() for source in self._sources])
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

    def __init__(self, pages: FetchPage) -> None:
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
