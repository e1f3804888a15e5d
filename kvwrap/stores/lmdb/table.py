"""The primitives of a store, in blocking calls that take the records of a transaction."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, expiry_ms, live
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.validation import RESERVED
from kvwrap.errors import CorruptEntry, ValueTooLarge
from kvwrap.stores.lmdb import names
from kvwrap.stores.lmdb.environment import Later
from kvwrap.stores.lmdb.names import Value
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
        wanted = [names.name_of(prefix, key) for key in keys]
        stored = records.values(wanted)
        if most_bytes is not None and sum(map(len, stored.values())) > most_bytes:
            raise Later
        now = self._clock.time()
        unframed = names.unframed_length(prefix)
        entries: list[Entry | None] = []
        for key, name in zip(keys, wanted, strict=True):
            value = stored.get(name)
            if value is not None and len(name) > unframed:
                value = self._unpack(collection, key, name, value)
            if value is None:
                entries.append(None)
            else:
                entry = Entry.from_bytes(bytes(value), collection, key, self._store)
                entries.append(live(entry, now))
        return entries

    def _unpack(self, collection: Collection, key: str, name: bytes, value: Value) -> Value:
        try:
            return names.unpack(name, value)[2]
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
        prefix = names.prefix_of(collection)
        rows = [
            self._row(prefix, collection, key, entry)
            for key, entry in zip(keys, entries, strict=True)
        ]
        now = self._now()
        if records.any_expires:
            records.delete_expired(now, 2 * len(rows))
        elif expected is None and not any(entry.expires_at for _, entry, _ in rows):
            # What they replace need not be looked at.
            records.put_all((name, value) for name, _, value in rows)
            return [True] * len(rows)
        written = []
        for index, (name, entry, value) in enumerate(rows):
            head = records.head(name)
            version = None if expected is None else expected[index]
            if version is not None and not _allows(head, version, entry.version, now):
                written.append(False)
                continue
            records.put(name, value, expiry_ms(entry.expires_at), head)
            written.append(True)
        return written

    def _row(
        self, prefix: bytes, collection: Collection, key: str, entry: Entry
    ) -> tuple[bytes, Entry, bytes]:
        entry = entry.with_lasting_version()  # the same in the header and for conditions
        name = names.name_of(prefix, key)
        value = names.pack(name, collection, key, entry.to_bytes(collection, key))
        if self._max_bytes is not None and len(value) > self._max_bytes // 4:
            raise ValueTooLarge(
                "an entry must have at most a quarter of "
                f"max_bytes={self._max_bytes}; got {len(value)} bytes. Nothing was written",
                store=self._store,
                collection=collection,
                key=key,
            )
        return name, entry, value

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
        prefix = names.prefix_of(collection)
        rows = [
            self._row(prefix, collection, key, entry.with_expiry(expiry, new_version()))
            for key, entry, expiry in zip(keys, entries, expires, strict=True)
            if entry is not None
        ]
        for name, entry, value in rows:
            head = records.head(name)
            records.put(name, value, expiry_ms(entry.expires_at), head)
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
