"""The file of a journal: a SQLite database that one process at a time has open.

A commit returns when the change is on the disk (write-ahead log, `synchronous=FULL`).
The process holds an exclusive lock, which is released when it ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from kvwrap.errors import CorruptEntry, StoreFull, StoreUnavailable
from kvwrap.layers.shared.journal import forks
from kvwrap.layers.shared.journal.change import Change, Refused
from kvwrap.layers.shared.journal.database import DAMAGE, code_of, open_database, unusable, why
from kvwrap.layers.shared.journal.rescue import replace_damaged
from kvwrap.layers.shared.journal.rows import (
    LAST_NUMBER,
    decode_row,
    encode_row,
    shown_name,
)

_RESERVE: Final = 256 * 1024
"""Bytes that must stay free on the disk, so that sent changes can be deleted."""

_CHUNK: Final = 16
"""Changes deleted in one transaction when the disk is full."""


class JournalFile:
    """The two tables of a journal: pending and refused changes. Blocking; one thread at a time.

    A damaged row is set aside with the refused changes. A damaged file is replaced by a new one
    with everything that could be read, and kept beside it.

    Args:
        path: The file. It is created, for its owner only, if it does not exist; its folder
            must exist.
        owner: The name of the layer, for errors.

    Attributes:
        changes: The pending changes on opening, in the order of acceptance.
        last_number: The highest sequence number in the file on opening, 0 if it has none.
        damaged: Number of damaged rows found on opening; a damaged file counts as one.

    Raises:
        ConfigurationError: Another process or stack has the file open, it is not a journal,
            it cannot be opened or created, or it is damaged and nothing in it can be read.
    """

    def __init__(self, path: str, owner: str) -> None:
        self._process = os.getpid()
        self._path = Path(path).resolve()
        self._log_path = self._path.with_name(f"{self._path.name}-wal")
        self._owner = owner
        self._has_refused = False
        self._db, is_whole = open_database(self._path)
        self.damaged = 0 if is_whole else 1
        try:
            try:
                self._load()
            except DAMAGE:
                self._db = replace_damaged(self._db, self._path)
                self.damaged += 1
                self._load()
        except DAMAGE as error:
            self._db.close()
            raise unusable(self._path, why(error)) from error
        except BaseException:
            self._db.close()
            raise
        forks.keep_in_children(self, self._db)

    def _load(self) -> None:
        db = self._db
        # No row is longer than the file, whatever a damaged one says of itself.
        longest = db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        size = self._path.stat().st_size + self._log_size()
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(longest, size + _RESERVE))
        if db.execute("PRAGMA integrity_check(1)").fetchone() != (b"ok",):
            raise sqlite3.DatabaseError("the database is damaged")
        self.changes: list[Change] = []
        damaged = []
        query = "SELECT number, collection, key, entry FROM pending ORDER BY number"
        with closing(db.execute(query)) as rows:  # or the lock would outlive the connection
            for row in rows:
                try:
                    self.changes.append(decode_row(row, self._owner))
                except CorruptEntry:
                    damaged.append(row[0])
        lowest, highest = db.execute(
            "SELECT min(number), max(number) FROM"
            " (SELECT number FROM pending UNION ALL SELECT number FROM refused)"
        ).fetchone()
        if highest is not None and not 0 < lowest <= highest < LAST_NUMBER:
            raise sqlite3.DatabaseError("a number is damaged")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
        self.last_number = int(highest or 0)
        if damaged:
            with self._transaction():
                for number in damaged:
                    self._set_aside(number, CorruptEntry.__name__)
        self.damaged += len(damaged)
        self._has_refused = bool(self.refused())

    def _log_size(self) -> int:
        return self._log_path.stat().st_size if self._log_path.exists() else 0

    def close(self) -> None:
        """Close the file, which releases its lock. A forked child must not call it."""
        self._db.close()

    def __del__(self) -> None:
        # A connection refers to itself: without this, only the garbage collector would close it.
        if self._process == os.getpid() and hasattr(self, "_db"):
            self._db.close()

    def accept(self, changes: Iterable[Change]) -> None:
        """Store these changes in one commit; each replaces the pending change of its key.

        Raises:
            StoreFull: The disk is full, or so full that sent changes could not be deleted.
        """
        rows = [encode_row(change) for change in changes]
        self._check_space(sum(len(data) for *_, data in rows))
        with self._transaction():
            self._db.executemany("REPLACE INTO pending VALUES (?, ?, ?, ?)", rows)
            if self._has_refused:
                # A newer change is accepted: an older refused one must not be sent after it.
                self._db.executemany(
                    "DELETE FROM refused WHERE collection = ? AND key = ?",
                    [(name, key) for _, name, key, _ in rows],
                )

    def _check_space(self, size: int) -> None:
        # Once for the log, once for the database when the log is copied into it.
        needed = 2 * size + _RESERVE
        if self._free_space() >= needed + self._log_size():
            return
        # The log may hold what is deleted by now, and the database unused pages.
        with self._translated():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (pages,) = self._db.execute("PRAGMA freelist_count").fetchone()
            (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
        needed += self._log_size() - min(size, pages * page_size)
        if (free := self._free_space()) < needed:
            raise StoreFull(
                f"the disk of the journal {str(self._path)!r} must have {needed} bytes free; it "
                f"has {free}. Nothing was accepted; free some space",
                store=self._owner,
            )

    def _free_space(self) -> int:
        return shutil.disk_usage(self._path.parent).free

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete the pending changes with these numbers, after they were sent.

        On a full disk they are deleted in small transactions, as far as there is room.
        """
        try:
            self._delete(numbers)
        except StoreFull:
            # Makes the space of the log available again.
            with self._translated():
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            for start in range(0, len(numbers), _CHUNK):
                self._delete(numbers[start : start + _CHUNK])

    def _delete(self, numbers: Sequence[int]) -> None:
        with self._transaction():
            self._db.executemany("DELETE FROM pending WHERE number = ?", [(n,) for n in numbers])

    def refuse(self, number: int, reason: str) -> None:
        """Set aside the change with this number, after the backend refused it."""
        with self._transaction():
            self._set_aside(number, reason)

    def refused(self) -> list[Refused]:
        """Return the refused changes, oldest first."""
        with self._translated():
            rows = self._db.execute(
                "SELECT collection, key, reason FROM refused ORDER BY number"
            ).fetchall()
        names = [tuple(map(shown_name, row)) for row in rows]
        return [Refused(name or None, key, reason) for name, key, reason in names]

    def discard_refused(self) -> int:
        """Delete the refused changes. Returns their number."""
        with self._transaction():
            return self._db.execute("DELETE FROM refused").rowcount

    def retry_refused(self) -> list[Change]:
        """Make the refused changes pending again, except damaged ones. Returns them."""
        changes = []
        with self._transaction():
            rows = self._db.execute("SELECT number, collection, key, entry FROM refused").fetchall()
            for row in rows:
                try:
                    change = decode_row(row, self._owner)
                except CorruptEntry:
                    continue
                self._db.execute(
                    "INSERT INTO pending SELECT number, collection, key, entry FROM refused"
                    " WHERE number = ?",
                    (change.number,),
                )
                self._db.execute("DELETE FROM refused WHERE number = ?", (change.number,))
                changes.append(change)
        return changes

    def _set_aside(self, number: int, reason: str) -> None:
        self._has_refused = True
        self._db.execute(
            "REPLACE INTO refused SELECT number, collection, key, entry, ? FROM pending"
            " WHERE number = ?",
            (reason, number),
        )
        self._db.execute("DELETE FROM pending WHERE number = ?", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._db
        with self._translated():
            try:
                db.execute("BEGIN IMMEDIATE")
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise `StoreFull` or `StoreUnavailable` in place of an error of SQLite."""
        try:
            yield
        except sqlite3.Error as error:
            kind = StoreFull if code_of(error) == sqlite3.SQLITE_FULL else StoreUnavailable
            cause = getattr(error, "sqlite_errorname", type(error).__name__)
            raise kind(
                f"using the journal {str(self._path)!r} failed ({cause}), and nothing was changed; "
                "check the space and the permissions of its disk",
                store=self._owner,
            ) from error
