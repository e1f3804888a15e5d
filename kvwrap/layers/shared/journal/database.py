"""Opening the database of a journal: its lock, its tables, and why it cannot be used."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from kvwrap.errors import ConfigurationError

DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""Errors of reading a damaged file. The text of an error of SQLite may be no UTF-8 either."""

_APPLICATION_ID = 0x6B767770
_FORMAT = 2
_TABLES = {
    "pending": "number INTEGER PRIMARY KEY, collection TEXT, key TEXT, entry BLOB, "
    "UNIQUE (collection, key)",
    "refused": "number INTEGER PRIMARY KEY, collection TEXT, key TEXT, entry BLOB, reason TEXT, "
    "UNIQUE (collection, key)",
}

_LOG_SIZE: Final = 4 * 1024 * 1024
"""Bytes to which SQLite shortens its log when it has been copied into the database."""

CANNOT_OPEN = "SQLite cannot open it; its folder must exist, and both must be writable"
DAMAGED = "it is damaged, and no change in it can be read; move it away to start with a new one"
_IN_USE = "another process or stack has it open; each stack needs a journal of its own"
_ANOTHER_PATH = "choose another path"


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a journal, lock it, and create what is missing: the file with mode 0600.

    Texts are read as bytes, since those of a damaged file may not be UTF-8.

    Returns:
        The connection, and False if the table of refused changes was lost.

    Raises:
        ConfigurationError: The file is in use, not a journal, or cannot be opened or created.
    """
    try:
        # SQLite gives its log the permissions of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, CANNOT_OPEN) from error
    try:
        return db, _prepare(db, path)
    except DAMAGE as error:
        db.close()
        raise unusable(path, why(error)) from error
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection, path: Path) -> bool:
    db.text_factory = bytes
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(f"PRAGMA journal_size_limit={_LOG_SIZE}")
    db.execute("BEGIN IMMEDIATE")
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    is_whole = True
    if not names and not application_id:
        for name, columns in _TABLES.items():
            db.execute(f"CREATE TABLE {name} ({columns})")
        db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={_FORMAT}")
    elif application_id != _APPLICATION_ID:
        raise unusable(path, f"it is another program's database; {_ANOTHER_PATH}")
    elif (version := db.execute("PRAGMA user_version").fetchone()[0]) != _FORMAT:
        raise unusable(
            path,
            f"it has format {version}, and this version of kvwrap reads {_FORMAT}; open it with "
            "the version that created it",
        )
    elif b"refused" not in names and b"pending" in names:
        db.execute(f"CREATE TABLE refused ({_TABLES['refused']})")
        is_whole = False
    db.execute("COMMIT")
    return is_whole


def unusable(path: Path, reason: str) -> ConfigurationError:
    """Return the error for a journal that cannot be used."""
    return ConfigurationError(f"the journal {str(path)!r} cannot be used: {reason}")


def why(error: Exception) -> str:
    """Return why a journal cannot be used, after an error of `DAMAGE`."""
    code = code_of(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _IN_USE
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return CANNOT_OPEN
    if code == sqlite3.SQLITE_NOTADB:
        return f"it is not a journal; {_ANOTHER_PATH}"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return f"its disk is full or fails ({getattr(error, 'sqlite_errorname', '')})"
    return DAMAGED


def code_of(error: Exception) -> int:
    """Return SQLite's primary error code, 0 for other errors."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
