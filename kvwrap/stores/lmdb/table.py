"""The primitives of a store, in blocking calls that take the records of a transaction."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.core.entry import (
    Entry,
    dump_entries,
    expiry_ms,
    parse_entries,
    with_lasting_versions,
)
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.reserved import RESERVED
from kvwrap.errors import CorruptEntry, ValueTooLarge
from kvwrap.stores.lmdb import names
from kvwrap.stores.lmdb.environment import Later
from kvwrap.stores.lmdb.records import Record, Records, head_of
from kvwrap.stores.shared.heads import Head

DELETED_AT_ONCE: Final = 1000
"""Maximum number of entries that a transaction of `drop_some` or `sweep_some` deletes.

Writers wait for one such transaction, never for the whole.
"""

_RESERVED: Final = RESERVED.encode()


class Table:
    """The primitives of a store.

    Args:
        clock: Source of the time.
        max_bytes: Maximum size of the data file; None for no limit.
        store: Name of the store, for errors.
    """

    def __init__(self, clock: Clock, max_bytes: int | None, *, store: str) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._store = store

    def _now(self) -> float:
        """Return the time in Unix milliseconds."""
        return self._clock.time() * 1000

    # -- keys --------------------------------------------------------------------------

    def read(
        self,
        records: Records,
        collection: Collection,
        keys: Sequence[str],
        most_bytes: int | None = None,
    ) -> list[Entry | None]:
        """Read the entries of these keys. The result has None for a missing or expired entry.

        Raises:
            Later: The entries are larger than `most_bytes` together.
        """
        prefix = names.prefix_of(collection)
        wanted = names.names_of(prefix, keys)
        stored = records.values(wanted)
        if most_bytes is not None and sum(map(len, filter(None, stored))) > most_bytes:
            raise Later
        if max(map(len, wanted), default=0) > names.unframed_length(prefix):
            stored = [
                value if value is None else self._unpack(collection, key, name, value)
                for key, name, value in zip(keys, wanted, stored, strict=True)
            ]
        return parse_entries(stored, collection, keys, self._store, self._clock.time())

    def _unpack(self, collection: Collection, key: str, name: bytes, value: bytes) -> bytes:
        try:
            return bytes(names.unpack(name, value)[2])
        except ValueError as error:
            raise CorruptEntry(
                "the stored bytes must have the whole name in front; they were altered or "
                "truncated",
                store=self._store,
                collection=collection,
                key=key,
            ) from error

    def write(
        self,
        records: Records,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        entries = with_lasting_versions(entries)  # the same in the headers and for conditions
        named, values = self._dump(collection, keys, entries)
        now = self._now()
        if records.any_expires:
            records.delete_expired(now, 2 * len(named))
        elif expected is None and {entry.expires_at for entry in entries} == {None}:
            # What they replace need not be looked at.
            records.put_all(list(zip(named, values, strict=True)))
            return [True] * len(named)
        written = []
        for index, (name, entry) in enumerate(zip(named, entries, strict=True)):
            head = records.head(name)
            version = None if expected is None else expected[index]
            if version is not None and not _allows(head, version, entry.version, now):
                written.append(False)
                continue
            records.put(name, values[index], expiry_ms(entry.expires_at), head)
            written.append(True)
        return written

    def _dump(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the names of entries, and the values to store."""
        prefix = names.prefix_of(collection)
        named = names.names_of(prefix, keys)
        values = dump_entries(entries, collection, keys)
        if max(map(len, named), default=0) > names.unframed_length(prefix):
            values = [
                names.pack(name, collection, key, value)
                for name, key, value in zip(named, keys, values, strict=True)
            ]
        if self._max_bytes is not None:
            for key, value in zip(keys, values, strict=True):
                self._check_size(self._max_bytes, len(value), collection, key)
        return named, values

    def _check_size(self, max_bytes: int, size: int, collection: Collection, key: str) -> None:
        if size > max_bytes // 4:
            raise ValueTooLarge(
                f"an entry must have at most a quarter of max_bytes={max_bytes}; got {size} bytes. "
                "Nothing was written",
                store=self._store,
                collection=collection,
                key=key,
            )

    def remove(
        self,
        records: Records,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Remove entries, each only if it has the expected version.

        Returns which were live and were removed.
        """
        now = self._now()
        prefix = names.prefix_of(collection)
        removed = []
        for index, key in enumerate(keys):
            name = names.name_of(prefix, key)
            head = records.head(name)
            version = None if expected is None else expected[index]
            if head is None or (version is not None and head.version != version):
                removed.append(False)
                continue
            records.delete(name, head)
            removed.append(head.is_live(now))
        return removed

    def touch(
        self,
        records: Records,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
    ) -> list[bool]:
        """Set new expiry times (Unix seconds, None for no expiry). Returns which keys existed."""
        entries = self.read(records, collection, keys)
        changed = {
            key: entry.with_expiry(expiry, new_version())
            for key, entry, expiry in zip(keys, entries, expires, strict=True)
            if entry is not None
        }
        named, values = self._dump(collection, list(changed), list(changed.values()))
        for name, value, entry in zip(named, values, changed.values(), strict=True):
            records.put(name, value, expiry_ms(entry.expires_at), records.head(name))
        return [entry is not None for entry in entries]

    def ping(self, records: Records) -> None:
        """Read the databases' own records."""
        records.check()

    # -- ranges ------------------------------------------------------------------------

    def list_keys(
        self, records: Records, collection: Collection, key_range: KeyRange, cursor: object
    ) -> Page:
        """List one page of the keys of a collection, in order.

        The cursor is the first possible key of the page, right after the last key of the
        previous one. Hashed keys with the same beginning are stored in the order of their
        hashes, so each page looks at all of them; it keeps no more of them than it returns.
        """
        low, high = _bounds(key_range)
        if isinstance(cursor, bytes):
            low = cursor
        now = self._now()
        found = records.between(names.prefix_of(collection), low, high)
        keys = (key for key, record in found if head_of(*record).is_live(now))
        page: list[bytes] = []
        for beginning, group in groupby(keys, lambda key: key[: names.KEY_LIMIT]):
            if len(beginning) < names.KEY_LIMIT:
                page += group
            else:
                page = [*page, *heapq.nsmallest(PAGE_SIZE - len(page), group)]
            if len(page) == PAGE_SIZE:
                return Page(_texts(page), page[-1] + b"\0")
        return Page(_texts(page), None)

    def count_range(self, records: Records, collection: Collection, key_range: KeyRange) -> int:
        """Count the live entries of a collection whose keys are in the range."""
        now = self._now()
        found = records.between(names.prefix_of(collection), *_bounds(key_range))
        return sum(
            not key.startswith(_RESERVED) and head_of(*record).is_live(now) for key, record in found
        )

    def drop_some(
        self, records: Records, collection: Collection, key_range: KeyRange
    ) -> tuple[int, bool]:
        """Delete some of the entries in a range.

        Returns how many of them were live, and True if there may be more.
        """
        found = records.between(names.prefix_of(collection), *_bounds(key_range))
        users = (record for key, record in found if not key.startswith(_RESERVED))
        return self._delete_some(records, users)

    def drop_names(self, records: Records, prefix: bytes) -> tuple[int, bool]:
        """Delete some of the entries whose names begin like this, as `drop_some`."""
        return self._delete_some(records, records.beginning(prefix))

    def _delete_some(self, records: Records, found: Iterable[Record]) -> tuple[int, bool]:
        now = self._now()
        some = [(name, head_of(name, value)) for name, value in islice(found, DELETED_AT_ONCE)]
        for name, head in some:
            records.delete(name, head)
        return sum(head.is_live(now) for _, head in some), len(some) == DELETED_AT_ONCE

    def list_collections(self, records: Records) -> list[Collection]:
        """List the collections that have a live entry."""
        now = self._now()
        found: list[Collection] = []
        for prefix in records.one_of_each():
            for name, value in records.beginning(prefix):
                if head_of(name, value).is_live(now):
                    with suppress(ValueError):  # the name is not UTF-8, or damaged
                        found.append(names.collection_of(name, value))
                    break
        return found

    def sweep_some(self, records: Records, most: int = DELETED_AT_ONCE) -> bool:
        """Delete some of the expired entries. Returns True if there may be more."""
        return records.delete_expired(self._now(), most) == most


def _allows(head: Head | None, expected: Expected, own: int, now: float) -> bool:
    return expected is ABSENT if head is None else head.allows(expected, own, now)


def _bounds(key_range: KeyRange) -> tuple[bytes, bytes | None]:
    """Return the least key of a range, and what all its keys are less than; in UTF-8."""
    prefix = key_range.prefix.encode()
    low = max(prefix, (key_range.start or "").encode())
    ends = [] if key_range.end is None else [key_range.end.encode()]
    if prefix:
        ends.append(names.after(prefix))
    return low, min(ends) if ends else None


def _texts(keys: Iterable[bytes]) -> list[str]:
    """Return the keys that are UTF-8, as all that a store of this class writes."""
    texts = []
    for key in keys:
        with suppress(UnicodeDecodeError):
            texts.append(key.decode())
    return texts
