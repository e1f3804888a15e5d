"""A table of entries, in blocking calls that take the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

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
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.shared.versions import to_signed
from kvwrap.stores.sqlite.errors import Later, check_undecodable
from kvwrap.stores.sqlite.eviction import Eviction
from kvwrap.stores.sqlite.statements import SMALL, bounds, is_table_name, statements, with_marks

_KEYS_PER_SELECT: Final = 512
"""Maximum number of keys in a SELECT; every SQLite allows at least 999 variables."""

_COLUMNS: Final = ("collection", "key", "expires_at", "version", "entry")

_SWEEP_SIZE: Final = 1000
"""Maximum number of expired rows that `sweep` deletes in one transaction.

Writers wait for one such transaction, never for the whole sweep.
"""


class Table:
    """The primitives of a store, each to be called within a transaction of the connection.

    Args:
        name: Name of the table.
        clock: Source of the time.
        store: Name of the store, for errors.
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size of the entries in bytes; None for no limit.

    Attributes:
        eviction: Keeps the limits; None without one.

    Raises:
        ConfigurationError: No table can have this name.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        store: str,
        max_entries: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        if not is_table_name(name):
            raise ConfigurationError(
                "`table` must consist of letters, digits and underscores, and must not begin with "
                f"a digit or 'sqlite_'; got {name!r}"
            )
        self.name = name
        self._clock = clock
        self._store = store
        self._sql = statements(name)
        self._written = 0
        self.eviction: Eviction | None = None
        if max_entries is not None or max_bytes is not None:
            self.eviction = Eviction(name, clock, max_entries, max_bytes)

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the table if it is missing, and fail if the connection cannot write.

        Raises:
            ConfigurationError: There is a table of this name with other columns, or with a name
                that differs in case only.
        """
        connection.execute(self._sql["table"])
        self.check(connection)
        connection.execute(self._sql["index"])
        if self.eviction is not None:
            self.eviction.create(connection)
        connection.execute(self._sql["no_change"])

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise `ConfigurationError` if there is no table of this name, or one of other columns."""
        if (alike := connection.execute(self._sql["alike"]).fetchone()) is not None:
            raise ConfigurationError(
                f"`table` must be {alike[0]!r}, since the file has this table, and SQLite does not "
                f"tell names apart by their case; got {self.name!r}",
                store=self._store,
            )
        names = {name for (name,) in connection.execute(self._sql["stored_columns"])}
        if not names.issuperset(_COLUMNS):
            raise ConfigurationError(
                f"the table {self.name!r} must be one that kvwrap created; it is missing from a "
                "file that is only read, it has other columns, or some that are computed. Give the "
                "store another table=",
                store=self._store,
            )

    def probe(self, connection: sqlite3.Connection) -> None:
        """Raise sqlite3.OperationalError if the table or one of its columns is missing."""
        connection.execute(self._sql["probe"]).fetchall()

    def _now(self) -> float:
        """Return the time in Unix milliseconds, the unit of the column `expires_at`."""
        return self._clock.time() * 1000

    def read_small(
        self, connection: sqlite3.Connection, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        """Do what `read` does for a few keys.

        Raises:
            Later: An entry has more than 16 KiB.
        """
        stored = dict(self._select(connection, "read_small", collection, keys))
        if None in stored.values():
            raise Later
        return self._parse(stored, collection, keys)

    def read(
        self, connection: sqlite3.Connection, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        """Read the entries of these keys, all as they were at one time.

        The result has None for a missing or expired entry.
        """
        if len(keys) <= _KEYS_PER_SELECT or connection.in_transaction:
            stored = dict(self._select(connection, "read", collection, keys))
        else:
            connection.execute("BEGIN")
            try:
                stored = dict(self._select(connection, "read", collection, keys))
            finally:
                connection.execute("ROLLBACK")
        return self._parse(stored, collection, keys)

    def _parse(
        self, stored: dict[str, bytes], collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        if self.eviction is not None:
            self.eviction.note_uses(collection, stored)
        now = self._clock.time()
        return parse_entries(map(stored.get, keys), collection, keys, self._store, now)

    def _select(
        self,
        connection: sqlite3.Connection,
        query: str,
        collection: Collection,
        keys: Sequence[str],
    ) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), _KEYS_PER_SELECT):
            chunk = list(keys[start : start + _KEYS_PER_SELECT])
            # Numbers of marks are sixteenths of powers of two, so that few statements are reused.
            step = max(1, (1 << (len(chunk) - 1).bit_length()) // 16)
            chunk += chunk[-1:] * (-len(chunk) % step)
            statement = with_marks(self._sql[query], len(chunk))
            rows += connection.execute(statement, (*chunk, collection or ""))
        return rows

    def write(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        rows = self._rows(connection, collection, keys, entries)
        self._written += len(rows)
        there: set[str] = set()
        if self.eviction is not None:
            there = {key for (key,) in self._select(connection, "have", collection, keys)}
            self.eviction.note_uses(collection, there)
        if expected is None:
            connection.executemany(self._sql["put"], rows)
            written = [True] * len(rows)
        else:
            written = self._write_if(connection, rows, expected)
        if self.eviction is not None:
            new = {key for key, is_written in zip(keys, written) if is_written} - there
            self.eviction.note_new(connection, collection, new)
        return written

    def _write_if(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[tuple[object, ...]],
        expected: Sequence[Expected],
    ) -> list[bool]:
        now = self._now()
        written: list[bool] = []
        for row, version in zip(rows, expected, strict=True):
            if version is None:
                cursor = connection.execute(self._sql["put"], row)
            elif version is ABSENT:
                cursor = connection.execute(self._sql["put_if_absent"], (*row, now))
            else:
                expected_version, own = to_signed(version), row[1]
                # A write that keeps the version must not find itself in an expired row.
                values = (*row, expected_version, now, None if own == expected_version else own)
                cursor = connection.execute(self._sql["put_if_version"], values)
            written.append(cursor.rowcount == 1)
        return written

    def _rows(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
    ) -> list[tuple[object, ...]]:
        """Return the rows of entries."""
        entries = with_lasting_versions(entries)  # the same in the headers and in the column
        stored = dump_entries(entries, collection, keys)
        largest = max(map(len, stored), default=0)
        # SQLite limits the size of a row, which includes the key and some bytes of bookkeeping.
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        name = collection or ""
        names = 4 * (max(map(len, keys), default=0) + len(name)) + 100
        if largest > limit - names:
            for key, data in zip(keys, stored, strict=True):
                if len(data) > limit - 4 * (len(key) + len(name)) - 100:
                    problem = f"must fit into SQLite's limit of {limit} bytes"
                    raise self._too_large(problem, len(data), collection, key)
        max_bytes = None if self.eviction is None else self.eviction.max_bytes
        if max_bytes is not None and largest > max_bytes:
            problem = f"must not be larger than max_bytes={max_bytes}"
            key, data = next(pair for pair in zip(keys, stored) if len(pair[1]) > max_bytes)
            raise self._too_large(problem, len(data), collection, key)
        # `sqlite3` looks for an adapter of bytes, which takes longer than copying a few KB.
        blobs = stored if largest > SMALL else map(bytearray, stored)
        return [
            (expiry_ms(entry.expires_at), to_signed(entry.version), blob, name, key)
            for entry, blob, key in zip(entries, blobs, keys)
        ]

    def _too_large(
        self, problem: str, size: int, collection: Collection, key: str
    ) -> ValueTooLarge:
        return ValueTooLarge(
            f"an entry {problem}; got {size} bytes. Nothing was written",
            store=self._store,
            collection=collection,
            key=key,
        )

    def remove(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Remove entries, each only if it has the expected version.

        Returns which were live and were removed.
        """
        now = self._now()
        removed = []
        for index, key in enumerate(keys):
            version = None if expected is None else expected[index]
            if version is ABSENT:
                removed.append(False)
                continue
            values: tuple[object, ...] = (collection or "", key)
            statement = "remove"
            if version is not None:
                values, statement = (*values, to_signed(version)), "remove_if_version"
            rows = connection.execute(self._sql[statement], values).fetchall()
            removed.append(any(expiry is None or expiry > now for (expiry,) in rows))
        return removed

    def touch(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
    ) -> list[bool]:
        """Set new expiry times (Unix seconds, None for no expiry). Returns which keys existed."""
        entries = self.read(connection, collection, keys)
        changed = {
            key: entry.with_expiry(expiry, new_version())
            for key, entry, expiry in zip(keys, entries, expires, strict=True)
            if entry is not None
        }
        rows = self._rows(connection, collection, list(changed), list(changed.values()))
        connection.executemany(self._sql["put"], rows)
        return [entry is not None for entry in entries]

    def list_keys(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        key_range: KeyRange,
        cursor: object,
    ) -> Page:
        """List one page of the keys of a collection, in order."""
        # The cursor is the first possible key of the page, right after the last key of the
        # previous one.
        first, end = bounds(key_range)
        if isinstance(cursor, str):
            first = cursor
        names = (collection or "", first, end, self._now())
        try:
            keys = [key for (key,) in connection.execute(self._sql["keys"], (*names, PAGE_SIZE))]
        except sqlite3.OperationalError as error:
            check_undecodable(error)
            keys = _texts(connection.execute(self._sql["key_blobs"], names), PAGE_SIZE)
        if len(keys) < PAGE_SIZE:
            return Page(keys, None)
        if keys[-1] < first:  # from here a listing would never end
            raise sqlite3.DatabaseError("the keys are not in order")
        return Page(keys, keys[-1] + "\0")

    def list_collections(self, connection: sqlite3.Connection) -> list[Collection]:
        """List the collections that have a live entry."""
        try:
            rows = connection.execute(self._sql["collections"], (self._now(),))
            return [name or None for (name,) in rows]
        except sqlite3.OperationalError as error:
            check_undecodable(error)
            blobs = connection.execute(self._sql["collection_blobs"], (self._now(),))
            return [name or None for name in _texts(blobs)]

    def count_range(
        self, connection: sqlite3.Connection, collection: Collection, key_range: KeyRange
    ) -> int:
        """Count the live entries of a collection whose keys are in the range."""
        names = (collection or "", *bounds(key_range), self._now())
        (count,) = connection.execute(self._sql["count_range"], names).fetchone()
        return int(count)

    def drop_range(
        self, connection: sqlite3.Connection, collection: Collection, key_range: KeyRange
    ) -> int:
        """Delete the entries whose keys are in the range. Returns how many of them were live."""
        count = self.count_range(connection, collection, key_range)
        connection.execute(self._sql["drop_range"], (collection or "", *bounds(key_range)))
        return count

    def drop(self, connection: sqlite3.Connection, collection: Collection) -> bool:
        """Drop a collection. Returns True if it had a live entry."""
        return self._drop(connection, "any_in", "drop", (collection or "",))

    def drop_all(self, connection: sqlite3.Connection) -> bool:
        """Drop all entries. Returns True if one of them was live."""
        return self._drop(connection, "any", "drop_all", ())

    def _drop(
        self, connection: sqlite3.Connection, query: str, deletion: str, names: tuple[str, ...]
    ) -> bool:
        (had_entries,) = connection.execute(self._sql[query], (self._now(), *names)).fetchone()
        connection.execute(self._sql[deletion], names)
        return bool(had_entries)

    def finish(self, connection: sqlite3.Connection) -> None:
        """Delete some expired rows, and what is beyond the limits; for the end of a transaction.

        A transaction that writes deletes more rows that have expired than it can have added.
        """
        if self._written:
            connection.execute(self._sql["sweep"], (self._now(), 2 * self._written))
            self._written = 0
        if self.eviction is not None:
            self.eviction.make_room(connection)

    def sweep(self, connection: sqlite3.Connection) -> bool:
        """Delete some of the expired entries. Returns True if there may be more."""
        deleted = connection.execute(self._sql["sweep"], (self._now(), _SWEEP_SIZE)).rowcount
        return deleted == _SWEEP_SIZE


def _texts(rows: Iterable[tuple[bytes]], most: int | None = None) -> list[str]:
    """Return the names that are UTF-8, as all that a store of this class writes; up to `most`."""
    names: list[str] = []
    for (data,) in rows:
        with suppress(UnicodeDecodeError):
            names.append(data.decode())
        if len(names) == most:
            break
    return names
