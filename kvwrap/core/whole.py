"""The second part of the store interface: enumeration, and whole ranges and collections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from kvwrap.core.basic import BasicMethods
from kvwrap.core.paging import pages
from kvwrap.core.primitives import KeyRange
from kvwrap.core.validation import (
    checked_bound,
    checked_limit,
    is_reserved,
)
from kvwrap.errors import KvwrapError


class WholeMethods(BasicMethods):
    """Methods that need the primitives which list, count and drop."""

    # -- enumeration -------------------------------------------------------------------

    async def keys(
        self, collection: str | None = None, *, limit: int | None = None, prefix: str = ""
    ) -> list[str]:
        """Return the keys of a collection that begin with `prefix`, at most `limit`.

        They are in order if the store has `Capability.RANGE`. The first argument is a collection,
        also if it is called "user:". `scan` returns many keys one after another.
        """
        collection, limit = self._collection_of(collection), checked_limit(limit)
        key_range, keys = _key_range(prefix, None, None), list[str]()
        if limit == 0:
            return keys
        async for page in pages(self._view, collection, key_range):
            keys += page.keys
            if limit is not None and len(keys) >= limit:
                break
        return keys[:limit]

    async def collections(self, *, limit: int | None = None) -> list[str]:
        """Return the collections that have entries, at most `limit`.

        The default collection has no name, and is not included. Neither are those in which
        layers keep their own records.
        """
        limit = checked_limit(limit)
        names = await self._view.list_collections()
        return [name for name in names if name is not None and not is_reserved(name)][:limit]

    async def scan(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, from `start` up to but not `end`.

        Keys compare by code points. Keys put or deleted meanwhile may or may not be included.
        No key occurs twice.
        """
        collection, key_range = self._collection_of(collection), _key_range(prefix, start, end)
        async for page in pages(self._view, collection, key_range):
            for key in page.keys:
                yield key

    async def items(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """Iterate over keys and values, with the arguments of `scan`.

        Values are read one page of keys at a time.
        """
        collection, key_range = self._collection_of(collection), _key_range(prefix, start, end)
        async for page in pages(self, collection, key_range):
            entries = await self._read_many(collection, page.keys)
            for key, entry in zip(page.keys, entries, strict=True):
                if entry is not None:
                    yield key, self._to_value(entry, collection, key)

    # -- whole ranges and collections --------------------------------------------------

    async def count(self, *, collection: str | None = None, prefix: str = "") -> int:
        """Return the number of entries in a collection, or of those whose keys begin with `prefix`.

        The backend counts them itself where it can. Entries put or deleted meanwhile may or may
        not be counted.
        """
        collection, key_range = self._collection_of(collection), _key_range(prefix, None, None)
        return await self._view.count_range(collection, key_range)

    async def delete_where(self, *, collection: str | None = None, prefix: str = "") -> int:
        """Delete the entries of a collection whose keys begin with `prefix`.

        Without `prefix`, these are all entries of the collection; without `collection` either,
        all of the default collection. Returns the number of entries that existed.

        An entry put meanwhile is deleted or not. If the call fails, some entries may have been
        deleted: repeat it. Its result then counts only what it has deleted itself.
        """
        collection, key_range = self._collection_of(collection), _key_range(prefix, None, None)
        try:
            return await self._changes.drop_range(collection, key_range)
        except KvwrapError as error:
            error.succeeded = None  # the caller named no keys
            raise

    async def destroy_collection(self, collection: str | None) -> bool:
        """Delete every entry of a collection. Returns True if there was one."""
        return await self._changes.drop(self._collection_of(collection))

    async def destroy(self) -> bool:
        """Delete every entry of this store, and nothing else. Returns True if there was one."""
        return await self._changes.drop_all()

    async def cull(self) -> None:
        """Free the space of expired entries, if the backend does not do so automatically."""
        await self.sweep()


def _key_range(prefix: str, start: str | None, end: str | None) -> KeyRange:
    return KeyRange(
        checked_bound(prefix, "prefix"),
        None if start is None else checked_bound(start, "start"),
        None if end is None else checked_bound(end, "end"),
    )
