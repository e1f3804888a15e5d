"""The journal's file: a SQLite database that one process at a time has open.

A commit returns when the change is on the disk (write-ahead log, `synchronous=FULL`).
The exclusive lock belongs to the process, and goes with it however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from kvwrap.core.entry import Entry
from kvwrap.errors import ConfigurationError, CorruptEntry, StoreFull, StoreUnavailable
from kvwrap.layers.shared.journal.change import Change, Refused

_APPLICATION = 0x6B767770
_FORMAT = 1
_TABLES = """
CREATE TABLE pending (
    number INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, entry BLOB,
    UNIQUE (collection, key)
);
CREATE TABLE refused (
    number INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, entry BLOB,
    reason TEXT NOT NULL, UNIQUE (collection, key)
);
"""


class JournalFile:
    """Blocking, for one thread at a time.

    Args:
        path: The file, made if there is none; its folder must be there.
        owner: Who speaks in errors.

    Raises:
        ConfigurationError: Another process or stack has it open, it is not a journal, or
            it cannot be made.
    """

    def __init__(self, path: str, owner: str) -> None:
        self._path = path
        self._owner = owner
        try:
            self._db = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._unusable("it cannot be opened") from error
        try:
            self._prepare()
        except sqlite3.OperationalError as error:
            self._db.close()
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            why = "another process or stack has it open" if busy else "it cannot be opened"
            raise self._unusable(why) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise self._unusable("it is not a journal") from error
        except BaseException:
            self._db.close()
            raise
        self._any_refused = bool(self.refused())

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            for statement in _TABLES.split(";")[:-1]:
                db.execute(statement)
            db.execute(f"PRAGMA application_id={_APPLICATION}")
            db.execute(f"PRAGMA user_version={_FORMAT}")
        elif application != _APPLICATION:
            raise self._unusable("it is another program's database")
        elif db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            raise self._unusable("another version of kvwrap made it")
        db.execute("COMMIT")

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the journal {self._path!r} cannot be used: {why}")

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._db.close()

    def load(self) -> list[Change]:
        """What is pending, in the order of its acceptance; damaged entries are set aside."""
        found = []
        rows = self._db.execute(
            "SELECT number, collection, key, entry FROM pending ORDER BY number"
        ).fetchall()
        for number, name, key, data in rows:
            try:
                found.append(Change(number, name or None, key, self._entry(name, key, data)))
            except CorruptEntry:
                with self._commit():
                    self._set_aside(number, "CorruptEntry")
        return found

    def last_number(self) -> int:
        """The highest number given so far."""
        row = self._db.execute(
            "SELECT max(number) FROM (SELECT number FROM pending UNION SELECT number FROM refused)"
        ).fetchone()
        return int(row[0] or 0)

    def accept(self, changes: Iterable[Change]) -> None:
        """Keep these, each in place of what was pending under its key."""
        rows = [
            (
                change.number,
                change.collection or "",
                change.key,
                change.entry and change.entry.to_bytes(change.collection, change.key),
            )
            for change in changes
        ]
        with self._commit():
            self._db.executemany("REPLACE INTO pending VALUES (?, ?, ?, ?)", rows)
            if self._any_refused:
                # Something newer is accepted: what was refused before it must not come back.
                self._db.executemany(
                    "DELETE FROM refused WHERE collection = ? AND key = ?",
                    [(name, key) for _, name, key, _ in rows],
                )

    def forget(self, numbers: Sequence[int]) -> None:
        """Strike out what has been sent."""
        with self._commit():
            self._db.executemany("DELETE FROM pending WHERE number = ?", [(n,) for n in numbers])

    def refuse(self, number: int, reason: str) -> None:
        """Set a change aside that the backend does not take."""
        with self._commit():
            self._set_aside(number, reason)

    def refused(self) -> list[Refused]:
        """What has been set aside, oldest first."""
        rows = self._db.execute("SELECT collection, key, reason FROM refused ORDER BY number")
        return [Refused(name or None, key, reason) for name, key, reason in rows]

    def discard_refused(self) -> int:
        """Give up what has been set aside; how much it was."""
        with self._commit():
            return self._db.execute("DELETE FROM refused").rowcount

    def retry_refused(self) -> list[Change]:
        """Make pending again what has been set aside and is whole."""
        found = []
        rows = self._db.execute("SELECT number, collection, key, entry FROM refused").fetchall()
        with self._commit():
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
                found.append(change)
        return found

    def _set_aside(self, number: int, reason: str) -> None:
        self._any_refused = True
        self._db.execute(
            "REPLACE INTO refused SELECT number, collection, key, entry, ? FROM pending"
            " WHERE number = ?",
            (reason, number),
        )
        self._db.execute("DELETE FROM pending WHERE number = ?", (number,))

    def _entry(self, name: str, key: str, data: bytes | None) -> Entry | None:
        return None if data is None else Entry.from_bytes(data, name or None, key, self._owner)

    @contextmanager
    def _commit(self) -> Iterator[None]:
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
            raise kind(f"the journal {self._path!r} failed", store=self._owner) from error
