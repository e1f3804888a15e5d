"""The file of a journal: a SQLite database that one process at a time has open.

A commit returns when the change is on the disk (write-ahead log, `synchronous=FULL`).
The process holds an exclusive lock, which is released when it ends, however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from kvwrap.core.entry import Entry
from kvwrap.errors import ConfigurationError, CorruptEntry, StoreFull, StoreUnavailable
from kvwrap.layers.shared.journal.change import Change, Refused

_APPLICATION_ID = 0x6B767770
_FORMAT = 1
_SCHEMA = """
CREATE TABLE pending (
    number INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, entry BLOB,
    UNIQUE (collection, key)
);
CREATE TABLE refused (
    number INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, entry BLOB,
    reason TEXT NOT NULL, UNIQUE (collection, key)
);
"""

_ANOTHER_PATH = "choose another path"
_CANNOT_OPEN = "SQLite cannot open it; its folder must exist, and both must be writable"
_IN_USE = "another process or stack has it open; each stack needs a journal of its own"


class JournalFile:
    """The two tables of a journal: pending and refused changes. Blocking; one thread at a time.

    Args:
        path: The file. It is created if it does not exist; its folder must exist.
        owner: The name of the layer, for errors.

    Raises:
        ConfigurationError: Another process or stack has the file open, it is not a journal,
            or it cannot be opened or created.
    """

    def __init__(self, path: str, owner: str) -> None:
        self._path = path
        self._owner = owner
        try:
            self._db = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._unusable(_CANNOT_OPEN) from error
        try:
            self._prepare()
        except sqlite3.OperationalError as error:
            self._db.close()
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            raise self._unusable(_IN_USE if busy else _CANNOT_OPEN) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise self._unusable(f"it is not a journal; {_ANOTHER_PATH}") from error
        except BaseException:
            self._db.close()
            raise
        self._has_refused = bool(self.refused())

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        application_id = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            for statement in _SCHEMA.split(";")[:-1]:
                db.execute(statement)
            db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={_FORMAT}")
        elif application_id != _APPLICATION_ID:
            raise self._unusable(f"it is another program's database; {_ANOTHER_PATH}")
        elif (version := db.execute("PRAGMA user_version").fetchone()[0]) != _FORMAT:
            raise self._unusable(
                f"it has format {version}, and this version of kvwrap reads {_FORMAT}; open it "
                "with the version that created it"
            )
        db.execute("COMMIT")

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the journal {self._path!r} cannot be used: {why}")

    def close(self) -> None:
        """Close the file, which releases its lock."""
        self._db.close()

    def load(self) -> list[Change]:
        """Return the pending changes in the order of acceptance; set corrupt entries aside."""
        changes = []
        rows = self._db.execute(
            "SELECT number, collection, key, entry FROM pending ORDER BY number"
        ).fetchall()
        for number, name, key, data in rows:
            try:
                changes.append(Change(number, name or None, key, self._entry(name, key, data)))
            except CorruptEntry:
                with self._transaction():
                    self._set_aside(number, "CorruptEntry")
        return changes

    def last_number(self) -> int:
        """Return the highest sequence number in the file, 0 if it has none."""
        row = self._db.execute(
            "SELECT max(number) FROM (SELECT number FROM pending UNION SELECT number FROM refused)"
        ).fetchone()
        return int(row[0] or 0)

    def accept(self, changes: Iterable[Change]) -> None:
        """Store these changes in one commit; each replaces the pending change of its key."""
        rows = [
            (
                change.number,
                change.collection or "",
                change.key,
                change.entry and change.entry.to_bytes(change.collection, change.key),
            )
            for change in changes
        ]
        with self._transaction():
            self._db.executemany("REPLACE INTO pending VALUES (?, ?, ?, ?)", rows)
            if self._has_refused:
                # A newer change is accepted: an older refused one must not be sent after it.
                self._db.executemany(
                    "DELETE FROM refused WHERE collection = ? AND key = ?",
                    [(name, key) for _, name, key, _ in rows],
                )

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete the pending changes with these numbers, after they were sent."""
        with self._transaction():
            self._db.executemany("DELETE FROM pending WHERE number = ?", [(n,) for n in numbers])

    def refuse(self, number: int, reason: str) -> None:
        """Set aside the change with this number, after the backend refused it."""
        with self._transaction():
            self._set_aside(number, reason)

    def refused(self) -> list[Refused]:
        """Return the refused changes, oldest first."""
        rows = self._db.execute("SELECT collection, key, reason FROM refused ORDER BY number")
        return [Refused(name or None, key, reason) for name, key, reason in rows]

    def discard_refused(self) -> int:
        """Delete the refused changes. Returns their number."""
        with self._transaction():
            return self._db.execute("DELETE FROM refused").rowcount

    def retry_refused(self) -> list[Change]:
        """Make the refused changes pending again, except corrupt ones. Returns them."""
        changes = []
        rows = self._db.execute("SELECT number, collection, key, entry FROM refused").fetchall()
        with self._transaction():
            for number, name, key, data in rows:
                try:
                    change = Change(number, name or None, key, self._entry(name, key, data))
                except CorruptEntry:
                    continue
                self._db.execute(
                    "INSERT INTO pending SELECT number, collection, key, entry FROM refused"
                    " WHERE number = ?",
                    (number,),
                )
                self._db.execute("DELETE FROM refused WHERE number = ?", (number,))
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

    def _entry(self, name: str, key: str, data: bytes | None) -> Entry | None:
        return None if data is None else Entry.from_bytes(data, name or None, key, self._owner)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("COMMIT")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            kind = StoreFull if full else StoreUnavailable
            cause = getattr(error, "sqlite_errorname", type(error).__name__)
            raise kind(
                f"writing the journal {self._path!r} failed ({cause}) and was rolled back; check "
                "the space and the permissions of its disk",
                store=self._owner,
            ) from error
