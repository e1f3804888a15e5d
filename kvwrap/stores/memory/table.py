"""The records of a `MemoryStore`, within its limits. Every call takes a bounded time."""

from __future__ import annotations

from math import inf

from kvwrap.core.changes import ChangeKind
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected
from kvwrap.stores.memory.eviction import S3FIFO
from kvwrap.stores.memory.expiries import Expiries
from kvwrap.stores.memory.record import Record, entry_size, is_live, size_of
from kvwrap.stores.shared.feed import Listeners
from kvwrap.stores.shared.s3fifo import MOST_USES

_FREED_BY_WRITE = 2
"""Expired or dropped records that each write removes: more than it can add."""


class Table:
    """Records by collection and key.

    Attributes:
        records: The records of each collection that has any, expired ones included.
        count: Their number.
        size: The total size of their entries in bytes; 0 without `max_bytes`.
        evicted: Number of records removed to keep the limits.

    Args:
        clock: Source of the time.
        max_entries: As for `MemoryStore`.
        max_bytes: As for `MemoryStore`. No entry that is written may be larger.
        listeners: Those who are told what changes.
    """

    def __init__(
        self,
        clock: Clock,
        max_entries: int | None,
        max_bytes: int | None,
        listeners: Listeners,
    ) -> None:
        self.records: dict[Collection, dict[str, Record]] = {}
        self.count = 0
        self.size = 0
        self.evicted = 0
        self._time = clock.time
        self._listeners = listeners
        self._told = listeners.told
        self._max_entries = inf if max_entries is None else max_entries
        self._max_bytes = max_bytes
        self._expiries = Expiries()
        self._policy: S3FIFO[Record] | None = None
        if max_bytes is not None:
            self._policy = S3FIFO(size_of)
        elif max_entries is not None:
            self._policy = S3FIFO(lambda _: 1)
        # Records of dropped collections, which are not in `records` any more.
        self._dropped: list[dict[str, Record]] = []

    def read(self, collection: Collection, key: str) -> Entry | None:
        """Return the entry, or None if it is missing or expired. That is a use."""
        try:
            record = self.records[collection].get(key)
        except KeyError:
            return None
        if record is None:
            return None
        entry = record.entry
        if entry is None or (entry.expires_at is not None and entry.expires_at <= self._time()):
            return None
        if record.uses < MOST_USES:
            record.uses += 1
        return entry

    def write(self, collection: Collection, key: str, entry: Entry, expected: Expected) -> bool:
        """Write one entry if its condition holds. Returns True if it is stored."""
        if self._expiries.first <= self._time() or self._dropped:
            self.free(_FREED_BY_WRITE)
        if expected is not None:
            record = self._find(collection, key)
            held = None if record is None else record.entry
            version = held.version if is_live(held, self._time()) else ABSENT
            if version != expected:
                # A call whose answer was lost is repeated: then its entry is stored already.
                return version == entry.version
        self._put(collection, key, entry)
        if self._told:
            self._listeners.tell(ChangeKind.PUT, collection, key)
        return True

    def delete(self, collection: Collection, key: str, expected: Expected) -> bool:
        """Remove an entry if its condition holds. Returns True if it was live and was removed."""
        record = self._find(collection, key)
        if record is None:
            return False
        entry = record.entry if is_live(record.entry, self._time()) else None
        if expected is not None and (entry is None or entry.version != expected):
            return False
        self._remove(record, ChangeKind.EXPIRED if entry is None else ChangeKind.REMOVED)
        return entry is not None

    def free(self, most: int) -> bool:
        """Remove dropped and expired records. Returns True if it removed as many as it may."""
        now = self._time()
        if self._expiries.first > now and not self._dropped:
            return False
        for _ in range(most):
            if self._dropped:
                records = self._dropped[-1]
                self._forget(records.popitem()[1])
                if not records:
                    self._dropped.pop()
            else:
                record = self._expiries.pop(now)
                if record is None:
                    return False
                expires_at = None if record.entry is None else record.entry.expires_at
                if expires_at is not None and expires_at <= now:
                    self._remove(record, ChangeKind.EXPIRED)
                elif expires_at is not None:
                    self._expiries.add(record, expires_at)
        return True

    def drop(self, collection: Collection) -> bool:
        """Drop a collection. Returns True if it existed; `free` then frees its memory."""
        records = self.records.pop(collection, None)
        if records is None:
            return False
        self.count -= len(records)
        self._dropped.append(records)
        self._listeners.lose(collection)
        return True

    def drop_all(self) -> bool:
        """Drop every collection. Returns True if there was one."""
        dropped, self.records = self.records, {}
        self.count = 0
        self._dropped += dropped.values()
        if dropped:
            self._listeners.lose()
        return bool(dropped)

    def _put(self, collection: Collection, key: str, entry: Entry) -> None:
        policy = self._policy
        if policy is not None and (self._max_bytes is not None or self.count >= self._max_entries):
            self._make_room(collection, key, entry)
        records = self.records.get(collection)
        if records is None:
            records = self.records[collection] = {}
        record = records.get(key)
        expires_at = entry.expires_at
        if record is None:
            record = records[key] = Record(collection, key, entry)
            self.count += 1
            self._adopt(record)
        elif record.due is None or expires_at is None or expires_at >= record.due:
            if self._max_bytes is not None and policy is not None:
                change = entry_size(entry) - size_of(record)
                self.size += change
                policy.reweigh(record, change)
            if record.uses < MOST_USES:
                record.uses += 1
            record.entry = entry
        else:
            # The queue of expiries would look at it too late. A later expiry needs no change
            # there, since the queue looks at the entry when its record is due.
            uses = record.uses
            self._forget(record)
            record = records[key] = Record(collection, key, entry, uses=uses)
            self._adopt(record)
        if expires_at is not None and record.due is None:
            self._expiries.add(record, expires_at)

    def _adopt(self, record: Record) -> None:
        if self._policy is not None:
            self._policy.add(record)
            if self._max_bytes is not None:
                self.size += size_of(record)

    def _make_room(self, collection: Collection, key: str, entry: Entry) -> None:
        """Remove others until the limits hold with this entry."""
        max_entries, max_bytes = self._max_entries, self._max_bytes
        policy = self._policy
        assert policy is not None
        while True:
            record = self._find(collection, key)
            count = self.count + (record is None)
            size = 0
            if max_bytes is not None:
                size = self.size + entry_size(entry) - (0 if record is None else size_of(record))
            if count <= max_entries and (max_bytes is None or size <= max_bytes):
                return
            if not self.free(1):
                evicted = policy.evict()
                if evicted is record:
                    policy.add(record)
                else:
                    self.evicted += 1
                    self._remove(evicted, ChangeKind.REMOVED)

    def _find(self, collection: Collection, key: str) -> Record | None:
        records = self.records.get(collection)
        return None if records is None else records.get(key)

    def _remove(self, record: Record, kind: ChangeKind) -> None:
        collection, key = record.collection, record.key
        records = self.records[collection]
        del records[key]
        if not records:
            del self.records[collection]
        self.count -= 1
        self._forget(record)
        if self._told:
            self._listeners.tell(kind, collection, key)

    def _forget(self, record: Record) -> None:
        """Release the entry and the name of a record that is not in `records` any more."""
        if self._max_bytes is not None:
            self.size -= size_of(record)
        if self._policy is not None and record.place:
            self._policy.discard(record)
        record.entry = None
        record.key = ""
        self._expiries.discard(record)
