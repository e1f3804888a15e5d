"""A table of entries, for whoever has a connection and a thread to block."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, expiry_ms, live
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.sqlite.statements import is_table_name, statements

_KEYS: Final = 512
"""Keys in one SELECT; every SQLite takes at least 999 variables."""
_SWEPT: Final = 1000
"""Expired rows freed in one transaction by `sweep`, so that writers never wait for all."""


class Table:
    """The primitives of a store, each to be done in one transaction of a connection.

    Args:
        name: The table's name.
        clock: Where the time comes from.
        owner: Who speaks in errors.

    Raises:
        ConfigurationError: No table can be called so.
    """

    def __init__(self, name: str, clock: Clock, *, owner: str) -> None:
        if not is_table_name(name):
            raise ConfigurationError(
                "a table's name is letters, digits and underscores, and does not begin with "
                f"'sqlite_': not {name!r}"
            )
        self._name = name
        self._clock = clock
        self._owner = owner
        self._sql = statements(name)

    def make(self, connection: sqlite3.Connection) -> None:
        """Make the table if it is missing; raises `ConfigurationError` if it is another's."""
        connection.execute(self._sql["table"])
        try:
            self.probe(connection)
        except sqlite3.OperationalError as error:
            raise ConfigurationError(
                f"the table {self._name!r} is not one of kvwrap's: name another as table=",
                store=self._owner,
            ) from error
        connection.execute(self._sql["index"])

    def probe(self, connection: sqlite3.Connection) -> None:
        """Raise where the table is not as it must be."""
        connection.execute(self._sql["probe"]).fetchall()

    def _now(self) -> float:
        """The time in milliseconds, as the column `expires_at` has it."""
        return self._clock.time() * 1000

    def read(
        self, connection: sqlite3.Connection, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        """The entries under these keys, `None` where there is none or it has expired."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _KEYS):
            chunk = list(keys[start : start + _KEYS])
            # As many marks as the next power of two, so that SQLite knows the statement.
            chunk += chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
            marks = ", ".join("?" * len(chunk))
            rows = connection.execute(
                self._sql["read"].format(marks=marks), (collection or "", *chunk)
            )
            found.update(rows)
        now = self._clock.time()
        return [
            live(Entry.from_bytes(found[key], collection, key, self._owner), now)
            if key in found
            else None
            for key in keys
        ]

    def write(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Put entries where what is there is as expected; which of them were put."""
        now = self._now()
        rows = [self._row(connection, *row) for row in zip(repeat(collection), keys, entries)]
        connection.execute(self._sql["sweep"], (now, 2 * len(rows)))
        if expected is None:
            connection.executemany(self._sql["put"], rows)
            return [True] * len(rows)
        written = []
        for row, wanted in zip(rows, expected, strict=True):
            if wanted is None:
                cursor = connection.execute(self._sql["put"], row)
            elif wanted is ABSENT:
                cursor = connection.execute(self._sql["put_absent"], (*row, now))
            else:
                cursor = connection.execute(self._sql["put_same"], (*row, signed(wanted), now))
            written.append(cursor.rowcount == 1)
        return written

    def _row(
        self, connection: sqlite3.Connection, collection: Collection, key: str, entry: Entry
    ) -> tuple[object, ...]:
        data = entry.to_bytes(collection, key)
        # SQLite's limit is on the row: its key and some bytes of bookkeeping are in it, too.
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        if len(data) + 4 * len(key) + 4 * len(collection or "") + 100 > limit:
            raise ValueTooLarge(
                f"{len(data)} bytes are more than SQLite's {limit}: nothing was written",
                store=self._owner,
                collection=collection,
                key=key,
            )
        expiry = expiry_ms(entry.expires_at) or None
        return expiry, signed(entry.version), data, collection or "", key

    def remove(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Take entries away where they are as expected; which were there."""
        now = self._now()
        removed = []
        for index, key in enumerate(keys):
            wanted = None if expected is None else expected[index]
            if wanted is ABSENT:
                removed.append(False)
                continue
            which, more = ("remove", ()) if wanted is None else ("remove_same", (signed(wanted),))
            rows = connection.execute(self._sql[which], (collection or "", key, *more)).fetchall()
            removed.append(any(end is None or end > now for (end,) in rows))
        return removed

    def touch(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
    ) -> list[bool]:
        """Give entries another end; which of them were there."""
        found = self.read(connection, collection, keys)
        rows = [
            self._row(connection, collection, key, entry.with_expiry(end, random.getrandbits(64)))
            for key, entry, end in zip(keys, found, expires, strict=True)
            if entry is not None
        ]
        connection.executemany(self._sql["put"], rows)
        return [entry is not None for entry in found]

    def list_keys(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        key_range: KeyRange,
        cursor: object,
    ) -> Page:
        """A page of the keys of a collection, in order."""
        # The cursor is where to go on: right after the last key given.
        first = cursor if isinstance(cursor, str) else max(key_range.prefix, key_range.start or "")
        ends = [end for end in (key_range.end, after(key_range.prefix)) if end is not None]
        rows = connection.execute(
            self._sql["keys_below" if ends else "keys"],
            (
                collection or "",
                first,
                *([min(ends)] if ends else ()),
                self._now(),
                PAGE_SIZE,
            ),
        )
        keys = [key for (key,) in rows]
        return Page(keys, keys[-1] + "\0" if len(keys) == PAGE_SIZE else None)

    def list_collections(self, connection: sqlite3.Connection) -> list[Collection]:
        """The collections that have an entry."""
        rows = connection.execute(self._sql["collections"], (self._now(),))
        return [name or None for (name,) in rows]

    def drop(self, connection: sqlite3.Connection, collection: Collection) -> bool:
        """Drop a collection; whether it had an entry."""
        return self._drop(connection, "any_in", "drop", (collection or "",))

    def drop_all(self, connection: sqlite3.Connection) -> bool:
        """Drop everything; whether there was an entry."""
        return self._drop(connection, "any", "drop_all", ())

    def _drop(
        self, connection: sqlite3.Connection, asked: str, dropped: str, names: tuple[str, ...]
    ) -> bool:
        row = connection.execute(self._sql[asked], (self._now(), *names)).fetchone()
        connection.execute(self._sql[dropped], names)
        return bool(row[0])

    def sweep(self, connection: sqlite3.Connection) -> bool:
        """Free some of the expired entries; whether there may be more."""
        swept = connection.execute(self._sql["sweep"], (self._now(), _SWEPT)).rowcount
        return swept == _SWEPT


def signed(version: int) -> int | None:
    """The version as SQLite can hold it; `None`, which equals nothing, for what is none."""
    if not 0 <= version < 1 << 64:
        return None
    return version - (1 << 64) if version >> 63 else version


def after(prefix: str) -> str | None:
    """The first string that follows all those with the prefix; `None` where none does."""
    while prefix:
        code = ord(prefix[-1]) + 1
        prefix = prefix[:-1]
        if code == 0xD800:
            code = 0xE000  # what lies between is half a character
        if code <= 0x10FFFF:
            return prefix + chr(code)
    return None
