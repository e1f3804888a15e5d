"""Opening connections to an SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError
from kvwrap.stores.sqlite.errors import code_of

MEMORY: Final = ":memory:"
"""The path of a database in memory."""

_LOG_SIZE: Final = 4 * 1024 * 1024
"""Bytes to which SQLite shortens its log when it begins it again: what it lets it grow to."""

Synchronous = Literal["full", "normal"]
"""What is on the disk when a call returns: its commit, or no more than the last checkpoint."""


def checked_path(path: object) -> str:
    """Return the path as a string, absolute unless it is that of a database in memory.

    A relative path is that of the folder in which this is called, whatever folder the process is in
    when the file is opened.

    Raises:
        ConfigurationError: It cannot be the path of a file.
    """
    text = path_text(path)
    if text is None:
        raise ConfigurationError(f"`path` must be the path of a file, or ':memory:'; got {path!r}")
    return text if text == MEMORY else str(Path(text).absolute())


def checked_client(client: object) -> sqlite3.Connection:
    """Return the connection.

    Raises:
        ConfigurationError: It is not a connection of the module `sqlite3`.
    """
    if not isinstance(client, sqlite3.Connection):
        raise ConfigurationError(
            "`client` must be a connection of the module sqlite3, from "
            f"sqlite3.connect(path, check_same_thread=False); got {type(client).__name__}"
        )
    return client


def check_usable(client: sqlite3.Connection) -> None:
    """Check the user's connection on the thread that will use it.

    Raises:
        ConfigurationError: It belongs to another thread, returns rows or texts of other types than
            usual, or begins transactions by itself.
    """
    try:
        (row,) = client.execute("SELECT 'text', 1").fetchall()
    except sqlite3.ProgrammingError as error:
        raise _unusable() from error
    except Exception:  # of a factory of the user's
        row = None
    is_usual = isinstance(row, tuple | sqlite3.Row) and tuple(row) == ("text", 1)
    if not is_usual or client.in_transaction:
        raise ConfigurationError(
            "`client` must return rows as tuples or sqlite3.Row and texts as str, and must have no "
            "transaction: leave row_factory, text_factory and autocommit as they are by default"
        )


def path_of(client: sqlite3.Connection) -> str:
    """Return the path of a connection's database, or that of a database in memory.

    Raises:
        ConfigurationError: The connection is closed, or belongs to another thread.
    """
    try:
        cursor = client.cursor()
        cursor.row_factory = None  # as that of the connection is not known yet
        databases = cursor.execute("PRAGMA database_list").fetchall()
    except sqlite3.ProgrammingError as error:
        raise _unusable() from error
    paths = [path for _, name, path in databases if name == "main" and path]
    return str(paths[0]) if paths else MEMORY


def _unusable() -> ConfigurationError:
    return ConfigurationError(
        "`client` must be open, and usable in other threads: open it with "
        "sqlite3.connect(path, check_same_thread=False)"
    )


def connect(path: str, synchronous: Synchronous) -> sqlite3.Connection:
    """Open a connection that does not wait for transactions of others.

    A file that does not exist is created for this user alone. SQLite gives the files beside it
    the same permissions.
    """
    if path != MEMORY:
        # Errors are SQLite's to tell, with its own names.
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    pragmas = (
        # FULL: a commit is on the disk before it returns. The next two do the same on macOS, where
        # syncing alone does not reach the disk.
        f"synchronous = {synchronous}",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        # The log keeps the space that it usually needs, also while others fill the disk; no more.
        f"journal_size_limit = {_LOG_SIZE}",
        # What is overwritten or deleted is erased, so that plaintext does not stay in free pages.
        "secure_delete = ON",
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return True if the database has a table of this name, in upper or lower case."""
    select = "SELECT name FROM sqlite_master WHERE name = ? COLLATE NOCASE"
    return connection.execute(select, (name,)).fetchone() is not None


def may_change(path: str) -> bool:
    """Return False if this process may read a file and not change it.

    In a folder without permission to write, SQLite cannot create its log beside the file.
    """
    if not Path(path).is_file():
        return True
    return os.access(path, os.W_OK) and (
        os.access(Path(path).parent, os.W_OK) or os.access(f"{path}-wal", os.W_OK)
    )


def connect_to_read(path: str) -> tuple[sqlite3.Connection, bool]:
    """Open a connection that changes nothing, and creates no file if it cannot.

    It does not wait for transactions of others.

    Returns:
        The connection, and False if SQLite must not look for changes of others, because it
        cannot create or change the files with its locks.
    """
    address = f"file:{quote(path)}?mode=ro"
    try:
        return _connect_by_uri(address), True
    except sqlite3.OperationalError as error:
        log = Path(f"{path}-wal")
        is_locked_out = code_of(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not is_locked_out or (log.exists() and log.stat().st_size):
            raise
    return _connect_by_uri(f"{address}&immutable=1"), False


def _connect_by_uri(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, timeout=0, isolation_level=None, check_same_thread=False, uri=True
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def leave_open(connection: sqlite3.Connection) -> None:
    """Keep a connection open until the end of the process, and not close it even then.

    SQLite deletes the log beside the path when it closes the last connection to a file. If the
    path leads to another file by now, the log is that one's.
    """
    # Not before: hardly any program comes here.
    from ctypes import py_object, pythonapi

    pythonapi.Py_IncRef(py_object(connection))  # a reference that nothing gives back
