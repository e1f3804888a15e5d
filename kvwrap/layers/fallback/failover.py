"""What is read of a store, or of another one while the first is out of reach."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, KeyRange, Page, Primitives
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.shared.guard import Guard

_LISTING = {Capability.KEYS, Capability.RANGE, Capability.COLLECTIONS}


class _Cursor(msgspec.Struct, frozen=True):
    """Which store an enumeration was begun in, and its cursor."""

    other: bool
    cursor: object


class Failover:
    """Reads one of two stores. An enumeration begun in one is never ended in the other.

    Args:
        inner: The store to read.
        guard: What `inner` is asked through.
        other: The store to read in its place, and to enumerate if it can all that `inner` can.
        owner: Who speaks in errors.

    Attributes:
        served: How many keys, pages and lists the other store has given.
    """

    def __init__(self, inner: Primitives, guard: Guard, other: Primitives, *, owner: str) -> None:
        self.fallback_reads = 0
        self._inner = inner
        self._call = guard.call
        self._other = other
        self._owner = owner

    @property
    def has_other(self) -> bool:
        """Whether the other store can be enumerated in the inner one's place."""
        return _LISTING & self._inner.capabilities <= self._other.capabilities

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """The primitive; raises `StoreUnavailable` where neither answers."""
        try:
            return await self._call(self._inner.read, collection, keys)
        except StoreUnavailable as outage:
            try:
                found = await self._other.read(collection, keys)
            except StoreUnavailable as error:
                raise StoreUnavailable(
                    f"neither the inner store nor the fallback answers ({outage.message})",
                    store=self._owner,
                ) from error
        self.fallback_reads += len(keys)
        return found

    async def keys(
        self, collection: Collection, key_range: KeyRange, cursor: object, *, of_other: bool = False
    ) -> Page:
        """A page of keys; `of_other` has a new enumeration begin in the other store."""
        assert cursor is None or isinstance(cursor, _Cursor)
        inside = None
        if cursor is not None:
            of_other, inside = cursor.other, cursor.cursor
        if not of_other:
            try:
                page = await self._call(self._inner.list_keys, collection, key_range, inside)
                return _page(page, other=False)
            except StoreUnavailable:
                if cursor is not None or not self.has_other:
                    raise
        page = await self._other.list_keys(collection, key_range, inside)
        self.fallback_reads += 1
        return _page(page, other=True)

    async def collections(self, *, of_other: bool = False) -> list[Collection]:
        """The collections; `of_other` has the other store asked alone."""
        if not of_other:
            try:
                return await self._call(self._inner.list_collections)
            except StoreUnavailable:
                if not self.has_other:
                    raise
        self.fallback_reads += 1
        return await self._other.list_collections()


def _page(page: Page, *, other: bool) -> Page:
    return Page(page.keys, None if page.cursor is None else _Cursor(other, page.cursor))
