"""Keeps a table of entries within limits, by S3-FIFO over its rows.

The column `queue` is 0 for a row in the small queue, whose order is that of the row ids, and a
growing number for one in the main queue. Triggers keep the weights of both, whichever store or
program changes the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.s3fifo import ATTEMPTS, is_small_next
from kvwrap.stores.sqlite.statements import eviction_statements
from kvwrap.stores.sqlite.uses import Uses, hash_name

_STEPS: Final = 1000
"""Rows that are removed in one transaction at most: others wait for no more than these."""

_EXPECTED_SIZE: Final = 256
"""Bytes that an entry is expected to have, where only `max_bytes` is known."""


class Eviction:
    """The limits of a table, and what to evict.

    Args:
        table: Name of the table.
        clock: Source of the time.
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size in bytes of the entries as they are stored, likewise.
    """

    def __init__(
        self, table: str, clock: Clock, max_entries: int | None, max_bytes: int | None
    ) -> None:
        self.max_bytes = max_bytes
        self._table = table
        self._clock = clock
        self._max_entries = max_entries
        self._sql = eviction_statements(table)
        self._uses: Uses | None = None
        # Entries that the transaction has put, at the ends of the small and of the main queue.
        self._new_small = self._new_main = 0

    def open(self, path: str | None) -> None:
        """Begin to count uses, for the processes that share the file, or for this one (None)."""
        expected = self._max_entries or (self.max_bytes or 0) // _EXPECTED_SIZE
        if path is None:
            self._uses = Uses(None, expected)
        else:
            # Those who may use the database may also count uses.
            mode = Path(path).stat().st_mode & 0o777
            self._uses = Uses(Path(f"{path}-{self._table}-uses"), expected, mode)

    def close(self) -> None:
        """End it."""
        if self._uses is not None:
            uses, self._uses = self._uses, None
            uses.close()

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the column, the index, the weights and the triggers that are missing."""
        columns = {row[1] for row in connection.execute(self._sql["columns"])}
        if "queue" not in columns:
            connection.execute(self._sql["column"])
        connection.execute(self._sql["index"])
        connection.execute(self._sql["weights"])
        if not connection.execute(self._sql["have_weights"]).fetchone()[0]:
            connection.execute(self._sql["weigh"])
        for name in ("inserted", "deleted", "updated"):
            connection.execute(self._sql[name])

    def note_uses(self, collection: Collection, keys: Iterable[str]) -> None:
        """Count a use of each of these entries, which are in the table."""
        if self._uses is not None:
            for key in keys:
                self._uses.note(hash_name(_encode(collection, key)))

    def note_new(
        self, connection: sqlite3.Connection, collection: Collection, keys: Iterable[str]
    ) -> None:
        """Note entries that are new in the table. Those evicted lately go to the main queue."""
        assert self._uses is not None
        for key in keys:
            hashed = hash_name(_encode(collection, key))
            if self._uses.take(hashed):
                connection.execute(self._sql["to_main_by_name"], (collection or "", key))
                self._new_main += 1
            else:
                self._new_small += 1

    def make_room(self, connection: sqlite3.Connection) -> None:
        """Remove rows until the limits hold, expired ones first.

        What is left after a number of rows is removed by the next transactions.
        """
        small, main = self._weights(connection)
        left = _STEPS
        while left > 0 and self._excess(small, main):
            values = (self._clock.time() * 1000, left)
            expired = connection.execute(self._sql["sweep"], values).rowcount
            left -= expired
            if not expired:
                break
            small, main = self._weights(connection)
        while left > 0 and self._excess(small, main):
            if not self._evict(connection, small, main):
                small, main = self._count(connection)
            left -= 1
        self._new_small = self._new_main = 0

    def _weights(self, connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
        """Return the number of entries and of bytes of the small queue, and of the main queue."""
        rows = connection.execute(self._sql["read_weights"]).fetchall()
        return (list(rows[0]), list(rows[1])) if len(rows) == 2 else self._count(connection)

    def _count(self, connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
        """Count and return the weights again, since another program has changed them."""
        connection.execute(self._sql["forget_weights"])
        connection.execute(self._sql["weigh"])
        rows = connection.execute(self._sql["read_weights"]).fetchall()
        if len(rows) != 2:
            raise sqlite3.DatabaseError("the weights are not those of kvwrap")
        return list(rows[0]), list(rows[1])

    def _excess(self, small: Sequence[int], main: Sequence[int]) -> bool:
        entries, size = small[0] + main[0], small[1] + main[1]
        if not entries:
            return False
        return (self._max_entries is not None and entries > self._max_entries) or (
            self.max_bytes is not None and size > self.max_bytes
        )

    def _evict(self, connection: sqlite3.Connection, small: list[int], main: list[int]) -> bool:
        """Remove one row, and keep the weights as they then are.

        Returns False if no row is left, although the weights say so.
        """
        uses = self._uses
        assert uses is not None
        for attempts in range(ATTEMPTS, 0, -1):
            is_small = self._is_small_next(small, main)
            first = self._sql["first_small" if is_small else "first_main"]
            row = connection.execute(first).fetchone()
            if row is None:
                break
            rowid, name, size = row
            hashed = hash_name(name)
            used = uses.get(hashed)
            source = small if is_small else main
            source[0] -= 1
            source[1] -= size
            if not used or attempts == 1:
                connection.execute(self._sql["evict"], (rowid,))
                uses.set(hashed, 0)
                if is_small:
                    uses.remember(hashed)
                return True
            uses.set(hashed, 0 if is_small else used - 1)
            connection.execute(self._sql["to_main"], (rowid,))
            main[0] += 1
            main[1] += size
        return False

    def _is_small_next(self, small: Sequence[int], main: Sequence[int]) -> bool:
        # What the transaction has put is evicted if there is nothing else.
        has_small, has_main = small[0] > self._new_small, main[0] > self._new_main
        if has_small and has_main:
            weight = 0 if self.max_bytes is None else 1
            return is_small_next(small[weight], main[weight])
        return has_small or (not has_main and small[0] > 0)


def _encode(collection: Collection, key: str) -> bytes:
    """Return a name as the statements return it."""
    return f"{collection or ''}/{key}".encode()
