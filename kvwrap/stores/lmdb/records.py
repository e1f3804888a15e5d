"""The records of both databases, as one transaction sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from kvwrap.stores.lmdb import names
from kvwrap.stores.shared.heads import Head

Record = tuple[bytes, memoryview]
"""A name and what is stored under it; the memory is valid up to the next change."""


_META_PAGES: Final = 2
_FILLER: Final = b"\xff" * 8
"""A time after all times, in the index of expiries."""


class Databases(NamedTuple):
    """The databases of a store in its environment.

    Attributes:
        entries: The entries by name.
        expiries: The names of entries that expire, by time; without values.
        main: The names of all databases of the environment.
    """

    entries: Any
    expiries: Any
    main: Any


class Records:
    """The records.

    Args:
        databases: The databases.
        transaction: The transaction. Its database is that of the entries unless another one is
            given. Its values are memory and not bytes, except for reading single entries.
    """

    __slots__ = ("_databases", "_transaction")

    def __init__(self, databases: Databases, transaction: Any) -> None:
        self._databases = databases
        self._transaction = transaction

    def get(self, name: bytes) -> memoryview | None:
        """Return what is stored under a name; None if there is nothing."""
        value: memoryview | None = self._transaction.get(name)
        return value

    def values(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """Return what is stored under these names; None where there is nothing."""
        get = self._transaction.get
        return [value if value is None else bytes(value) for value in map(get, wanted)]

    @property
    def any_expires(self) -> bool:
        """True if an entry has an expiry time."""
        return bool(self._transaction.stat(self._databases.expiries)["entries"])

    def put_all(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Store entries without expiry times, where there are none with one."""
        self._transaction.cursor().putmulti(rows)

    def head(self, name: bytes) -> Head | None:
        """Return the head of the entry under a name; None if nothing is there."""
        value = self.get(name)
        return None if value is None else head_of(name, value)

    def put(self, name: bytes, value: bytes, expiry: int, before: Head | None) -> None:
        """Store an entry that expires at this time, given the head of the one that it replaces."""
        if before is not None and before.expiry not in (0, expiry):
            self._forget_expiry(before.expiry, name)
        if expiry:
            indexed = names.expiry_name(expiry, name)
            self._transaction.put(indexed, b"", db=self._databases.expiries)
        self._transaction.put(name, value)

    def delete(self, name: bytes, before: Head) -> None:
        """Delete the entry that has this head."""
        if before.expiry:
            self._forget_expiry(before.expiry, name)
        self._transaction.delete(name)

    def delete_expired(self, now: float, most: int) -> int:
        """Delete expired entries, those that expired first before others. Returns their number."""
        expired = []
        for value, _ in islice(self._transaction.cursor(self._databases.expiries), most):
            indexed = bytes(value)
            expiry, name = names.parse_expiry(indexed)
            if expiry > now:
                break
            expired.append((indexed, expiry, name))
        for indexed, expiry, name in expired:
            self._transaction.delete(indexed, db=self._databases.expiries)
            head = self.head(name) if name and expiry else None  # else it is damaged
            if head is not None and head.expiry == expiry:
                self._transaction.delete(name, db=self._databases.entries)
        return len(expired)

    def put_fillers(self, numbers: Iterable[int], value: bytes) -> None:
        """Store a value under numbers, as records of the index that are no entry's."""
        rows = ((_FILLER + number.to_bytes(8, "big"), value) for number in numbers)
        self._transaction.cursor(self._databases.expiries).putmulti(rows)

    def delete_fillers(self, most: int) -> int:
        """Delete what `put_fillers` has stored. Returns how many were deleted."""
        cursor = self._transaction.cursor(self._databases.expiries)
        if not cursor.set_range(_FILLER):
            return 0
        fillers = [bytes(name) for name, _ in islice(cursor, most)]
        for name in fillers:
            self._transaction.delete(name, db=self._databases.expiries)
        return len(fillers)

    def renew_entries(self, start: bytes, most: int) -> bytes | None:
        """Write entries again as they are. Returns where to go on, None at the end."""
        return self._renew(self._databases.entries, start, most)

    def renew_expiries(self, start: bytes, most: int) -> bytes | None:
        """Write the index again, as `renew_entries`."""
        return self._renew(self._databases.expiries, start, most)

    def _renew(self, database: Any, start: bytes, most: int) -> bytes | None:
        cursor = self._transaction.cursor(database)
        if not cursor.set_range(start):
            return None
        some = [(bytes(name), bytes(value)) for name, value in islice(cursor, most)]
        self._transaction.cursor(database).putmulti(some)
        return some[-1][0] + b"\0" if len(some) == most else None

    def _forget_expiry(self, expiry: int, name: bytes) -> None:
        self._transaction.delete(names.expiry_name(expiry, name), db=self._databases.expiries)

    def beginning(self, prefix: bytes, start: bytes = b"\0") -> Iterator[Record]:
        """Iterate over the names with a prefix, in order, those before `start` left out."""
        cursor = self._transaction.cursor(self._databases.entries)
        if not cursor.set_range(max(prefix, start)):
            return
        for key, value in cursor:
            name = bytes(key)
            if not name.startswith(prefix):
                return
            yield name, value

    def between(
        self, prefix: bytes, low: bytes, high: bytes | None
    ) -> Iterator[tuple[bytes, Record]]:
        """Iterate over the keys of a collection from `low` up to `high`, with their records.

        The keys are in UTF-8. They are in order, except that hashed keys with the same
        beginning are in the order of their hashes.
        """
        for name, value in self.beginning(prefix, prefix + low[: names.KEY_LIMIT]):
            try:
                key = names.key_of(name, value)
            except ValueError:  # damaged, so it has no key
                continue
            if high is not None and key[: names.KEY_LIMIT] >= high:
                return
            if low <= key and (high is None or key < high):
                yield key, (name, value)

    def one_of_each(self) -> Iterator[bytes]:
        """Iterate over the prefixes of the collections, each found from the one before."""
        cursor = self._transaction.cursor(self._databases.entries)
        exists = cursor.first()
        while exists:
            prefix = names.prefix_in(bytes(cursor.key()))
            yield prefix
            exists = cursor.set_range(names.after(prefix))

    def count_pages(self) -> int:
        """Return the number of pages in use, but for those that list unused ones."""
        count: int = _META_PAGES
        for table in map(self._transaction.stat, self._databases):
            count += table["branch_pages"] + table["leaf_pages"] + table["overflow_pages"]
        return count

    def check(self) -> None:
        """Read the databases' own records."""
        for database in self._databases:
            self._transaction.stat(database)


def head_of(name: bytes, value: memoryview) -> Head:
    """Return the head of what is stored under a name."""
    try:
        return Head.of(names.unpack(name, value)[2])
    except ValueError:
        return Head()
