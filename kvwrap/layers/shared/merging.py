"""List the keys of several stores as one listing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from typing import Any

from kvwrap.core.concurrency import gather
from kvwrap.core.primitives import Page

FetchPage = Callable[[object], Coroutine[Any, Any, Page]]
"""Fetches the page of one store that a cursor leads to."""


class MergeCursor:
    """The cursor of a merged listing: a position in it, whose page can be requested again.

    Args:
        sources: For each store, the function that fetches its pages.
        ordered: Whether every store lists its keys in order, so that the merged listing is
            in order too. If not, the stores are listed one after another.

    No key is listed twice, even if several stores have it.
    """

    def __init__(self, sources: Sequence[FetchPage], *, ordered: bool) -> None:
        self._merge = _Merge([_Source(fetch_page) for fetch_page in sources], ordered)
        self._page: Page | None = None

    async def page(self) -> Page:
        """Return the page that begins at this position."""
        if self._page is None:
            keys = await self._merge.next_keys()
            # A copy that is made before this position has its page is the next position.
            self._page = Page(keys, None if self._merge.is_exhausted else copy(self))
        return self._page


class _Merge:
    """The keys that were fetched from each store and not returned yet."""

    def __init__(self, sources: Sequence[_Source], ordered: bool) -> None:
        self._sources = sources
        self._ordered = ordered
        self._seen: set[str] = set()

    @property
    def is_exhausted(self) -> bool:
        return all(source.is_exhausted for source in self._sources)

    async def next_keys(self) -> list[str]:
        """Return the keys of the next page."""
        return await (self._lowest() if self._ordered else self._of_next_source())

    async def _lowest(self) -> list[str]:
        await gather([source.fill() for source in self._sources])
        # A store with further pages may have keys after the last one fetched: stop there.
        bounds = [source.keys[-1] for source in self._sources if not source.is_last_page]
        bound = min(bounds) if bounds else None
        lowest: set[str] = set()
        for source in self._sources:
            keys = source.keys
            while keys and (bound is None or keys[0] <= bound):
                lowest.add(keys.popleft())
        return sorted(lowest)

    async def _of_next_source(self) -> list[str]:
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
    """The listing of one store: the keys fetched from it, and the cursor of the next page."""

    def __init__(self, fetch_page: FetchPage) -> None:
        self.keys: deque[str] = deque()
        self.is_last_page = False
        self._fetch_page = fetch_page
        self._cursor: object = None

    @property
    def is_exhausted(self) -> bool:
        return self.is_last_page and not self.keys

    async def fill(self) -> None:
        """Fetch pages until there is a key, or no further page."""
        while not self.keys and not self.is_last_page:
            page = await self._fetch_page(self._cursor)
            self.keys.extend(page.keys)
            self._cursor = page.cursor
            self.is_last_page = page.cursor is None
