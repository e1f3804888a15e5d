"""A limit for each collection: a table for each, so that none evicts what another keeps."""

from __future__ import annotations

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.stores.memory.record import Record
from kvwrap.stores.memory.table import Table
from kvwrap.stores.shared.feed import Listeners


class CollectionTables:
    """Records by collection and key, with the interface of a `Table`.

    Args:
        clock: Source of the time.
        max_entries: Maximum number of entries of each collection.
        listeners: Those who are told what changes.
    """

    size = 0

    def __init__(self, clock: Clock, max_entries: int, listeners: Listeners) -> None:
        self._clock = clock
        self._listeners = listeners
        self._max_entries = max_entries
        self._tables: dict[Collection, Table] = {}
        self._evicted_before = 0

    @property
    def records(self) -> dict[Collection, dict[str, Record]]:
        """The records of each collection that has any, expired ones included."""
        return {
            collection: table.records[collection]
            for collection, table in self._tables.items()
            if table.count
        }

    @property
    def count(self) -> int:
        """The number of records."""
        return sum(table.count for table in list(self._tables.values()))

    @property
    def evicted(self) -> int:
        """The number of records removed to keep the limits."""
        return self._evicted_before + sum(table.evicted for table in list(self._tables.values()))

    def read(self, collection: Collection, key: str) -> Entry | None:
        """Return the entry, or None if it is missing or expired. That is a use."""
        table = self._tables.get(collection)
        return None if table is None else table.read(collection, key)

    def write(self, collection: Collection, key: str, entry: Entry, expected: Expected) -> bool:
        """Write one entry if its condition holds. Returns True if it is stored."""
        table = self._tables.get(collection)
        if table is None:
            table = self._tables[collection] = Table(
                self._clock, self._max_entries, None, self._listeners
            )
        return table.write(collection, key, entry, expected)

    def delete(self, collection: Collection, key: str, expected: Expected) -> bool:
        """Remove an entry if its condition holds. Returns True if it was live and was removed."""
        table = self._tables.get(collection)
        return table is not None and table.delete(collection, key, expected)

    def free(self, most: int) -> bool:
        """Remove dropped and expired records of one collection after another.

        Returns True if a collection had as many as it may free at once.
        """
        for collection, table in list(self._tables.items()):
            if table.free(most):
                return True
            if not table.count:
                self._evicted_before += table.evicted
                del self._tables[collection]
        return False

    def drop(self, collection: Collection) -> bool:
        """Drop a collection. Returns True if it existed; `free` then frees its memory."""
        table = self._tables.get(collection)
        return table is not None and table.drop(collection)

    def drop_all(self) -> bool:
        """Drop every collection. Returns True if there was one."""
        return sum(table.drop_all() for table in self._tables.values()) > 0
