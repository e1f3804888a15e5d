"""Hiding entries that the parts inside hold as alive, from every primitive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kvwrap.core.batch import add_succeeded, indexes_of, take
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.paging import EVERY_KEY, holds_any, pages
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page, Primitives
from kvwrap.core.ranges import count_by_listing, drop_by_removing
from kvwrap.errors import CorruptEntry, DecryptionError


class Mask:
    """The primitives of `inner`, without the entries for which `is_masked` returns True.

    `kvwrap.layers.base.Masking` is the base class of layers that do this, and documents it.
    A store does it for entries that are over for users (`kvwrap.core.stale`).
    """

    inner: Primitives
    masks_regularly: ClassVar[bool] = True

    def is_masked(self, entry: Entry, collection: Collection, key: str) -> bool:
        """Return True if users must not find this entry, which `inner` holds as alive.

        Must be quick, must not raise, and must stay True for an entry once it is.
        """
        raise NotImplementedError

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        is_masked = self.is_masked
        return [
            entry if entry is None or not is_masked(entry, collection, key) else None
            for key, entry in zip(keys, entries, strict=True)
        ]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write entries. A masked entry counts as absent for the conditions.

        If writing fails or is cancelled after a part of the batch was written, the error names
        the keys that were.
        """
        if expected is None:
            return await self.inner.write(collection, keys, entries)
        pending = await self._attemptable(collection, keys, expected)
        conditions: Sequence[Expected] = take(expected, pending)
        written = [False] * len(keys)
        for attempt in ATTEMPTS:
            if not pending:
                return written
            await backoff(attempt)
            try:
                flags = await self.inner.write(
                    collection, take(keys, pending), take(entries, pending), conditions
                )
            except Exception as error:
                if any(written):
                    add_succeeded(error, keys, take(keys, indexes_of(written)))
                raise
            for index, flag in zip(pending, flags, strict=True):
                written[index] = flag
            refused = [i for i in pending if not written[i] and expected[i] is ABSENT]
            if not refused:
                return written
            # What refused the write may be a masked entry, or be gone by now.
            found = await self._peek(collection, take(keys, refused))
            renewed: dict[int, Expected] = {}
            for index in refused:
                key = keys[index]
                entry = found.get(key)
                if entry is not None and self.is_masked(entry, collection, key):
                    renewed[index] = entry.version
                elif entry is None and key in found:
                    renewed[index] = ABSENT
            pending, conditions = list(renewed), list(renewed.values())
        raise conflict(self.inner.name, collection, keys[pending[0]])

    async def _attemptable(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected]
    ) -> list[int]:
        """Return the indexes of a conditional batch, without those that expect a masked entry."""
        indexes = list(range(len(keys)))
        if not self.masks_regularly or all(version is ABSENT for version in expected):
            return indexes
        masked = await self._masked(collection, keys)
        return [i for i in indexes if not isinstance(expected[i], int) or keys[i] not in masked]

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Remove entries, masked ones too. Returns False for those that were masked."""
        if expected is not None and not self.masks_regularly:
            return await self.inner.remove(collection, keys, expected)
        masked = await self._masked(collection, keys)
        if masked and Capability.COMPARE_AND_PUT in self.inner.capabilities:
            # Not an entry that was written since it was read.
            given = [None] * len(keys) if expected is None else expected
            expected = [
                masked.get(key) if version is None else version
                for key, version in zip(keys, given, strict=True)
            ]
        removed = await self.inner.remove(collection, keys, expected)
        return [flag and key not in masked for key, flag in zip(keys, removed, strict=True)]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Set new expiry times. Masked entries keep theirs, and are reported as missing."""
        masked = await self._masked(collection, keys)
        alive = [index for index, key in enumerate(keys) if key not in masked]
        touched = [False] * len(keys)
        if alive:
            flags = await self.inner.touch(collection, take(keys, alive), take(expires, alive))
            for index, flag in zip(alive, flags, strict=True):
                touched[index] = flag
        return touched

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """Return one page of keys, without those of masked entries. Reads the page's entries."""
        page = await self.inner.list_keys(collection, key_range, cursor)
        if key_range.masked:
            return page
        masked = await self._masked(collection, page.keys)
        if not masked:
            return page
        return Page([key for key in page.keys if key not in masked], page.cursor)

    async def list_collections(self) -> list[Collection]:
        names = await self.inner.list_collections()
        if not self.masks_regularly or Capability.KEYS not in self.inner.capabilities:
            return names
        return [name for name in names if await holds_any(self, name)]

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Count the keys by listing them."""
        return await count_by_listing(self, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Remove the keys by listing them, those of masked entries too, which do not count."""
        return await drop_by_removing(self, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        if not self.masks_regularly or Capability.KEYS not in self.inner.capabilities:
            return await self.inner.drop(collection)
        had_entries = await holds_any(self, collection)
        await self.inner.drop(collection)
        return had_entries

    async def drop_all(self) -> bool:
        lists = {Capability.KEYS, Capability.COLLECTIONS} <= self.inner.capabilities
        if not self.masks_regularly or not lists:
            return await self.inner.drop_all()
        had_entries = len(await self.list_collections()) > 0
        await self.inner.drop_all()
        return had_entries

    async def sweep(self) -> None:
        """Free the space of expired entries, then remove masked ones.

        That reads every entry, and needs an `inner` that enumerates keys and compares
        versions. A collection that cannot be enumerated is left as it is.
        """
        await self.inner.sweep()
        capabilities = self.inner.capabilities
        if not {Capability.KEYS, Capability.COMPARE_AND_PUT} <= capabilities:
            return
        lists = Capability.COLLECTIONS in capabilities
        for collection in await self.inner.list_collections() if lists else [None]:
            async for page in pages(self.inner, collection, EVERY_KEY):
                masked = await self._masked(collection, page.keys)
                if masked:
                    await self.inner.remove(collection, list(masked), list(masked.values()))

    async def _masked(self, collection: Collection, keys: Sequence[str]) -> dict[str, int]:
        """Return the versions of the masked entries among these keys."""
        found = await self._peek(collection, keys)
        return {
            key: entry.version
            for key, entry in found.items()
            if entry is not None and self.is_masked(entry, collection, key)
        }

    async def _peek(self, collection: Collection, keys: Sequence[str]) -> dict[str, Entry | None]:
        """Read from `inner`. Keys whose entries cannot be read are left out."""
        if not keys:
            return {}
        try:
            with peeking():
                return dict(zip(keys, await self.inner.read(collection, keys), strict=True))
        except (CorruptEntry, DecryptionError):
            if len(keys) == 1:
                return {}
            half = len(keys) // 2
            return {
                **await self._peek(collection, keys[:half]),
                **await self._peek(collection, keys[half:]),
            }
