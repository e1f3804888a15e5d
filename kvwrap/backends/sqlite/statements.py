"""What `SQLiteStore` needs of SQLite: statements, threads, transactions, error codes."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from kvwrap.errors import ConfigurationError

T = TypeVar("T")

_TABLE: Final = re.compile(r"(?!sqlite_)[a-z_][a-z0-9_]*", re.IGNORECASE)
_LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"
_SQL: Final = {
    # An empty collection is the default one: names have at least a character.
    "table": "CREATE TABLE IF NOT EXISTS {t} (collection TEXT NOT NULL, key TEXT NOT NULL, "
    "expires_at INTEGER, version INTEGER NOT NULL, entry BLOB NOT NULL, "
    "PRIMARY KEY (collection, key))",
    "index": "CREATE INDEX IF NOT EXISTS {t}_expires_at ON {t} (expires_at) "
    "WHERE expires_at IS NOT NULL",
    "probe": "SELECT collection, key, expires_at, version, entry FROM {t} LIMIT 0",
    # Cast, since reading text that is not UTF-8 would fail.
    "read": "SELECT key, CAST(entry AS BLOB) FROM {t} WHERE collection = ? AND key IN ({marks})",
    "put": "INSERT INTO {t} (expires_at, version, entry, collection, key) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (collection, key) DO UPDATE SET expires_at = excluded.expires_at, "
    "version = excluded.version, entry = excluded.entry",
    "put_absent": "{put} WHERE expires_at <= ?",
    "put_same": "UPDATE {t} SET expires_at = ?, version = ?, entry = ? WHERE collection = ? "
    "AND key = ? AND version = ? AND {live}",
    # Variables in RETURNING are NULL, so the comparison with the time is the caller's.
    "remove": "DELETE FROM {t} WHERE collection = ? AND key = ? RETURNING expires_at",
    "remove_same": "DELETE FROM {t} WHERE collection = ? AND key = ? AND version = ? "
    "RETURNING expires_at",
    "keys": "SELECT key FROM {t} WHERE collection = ? AND key >= ? AND {live} ORDER BY key LIMIT ?",
    "keys_below": "SELECT key FROM {t} WHERE collection = ? AND key >= ? AND key < ? AND {live} "
    "ORDER BY key LIMIT ?",
    # From one collection's name straight to the next, not over all their keys.
    "collections": "WITH RECURSIVE names (name) AS (SELECT min(collection) FROM {t} UNION ALL "
    "SELECT (SELECT min(collection) FROM {t} WHERE collection > name) FROM names "
    "WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL AND EXISTS "
    "(SELECT 1 FROM {t} WHERE collection = name AND {live})",
    "any_in": "SELECT EXISTS (SELECT 1 FROM {t} WHERE {live} AND collection = ?)",
    "drop": "DELETE FROM {t} WHERE collection = ?",
    "any": "SELECT EXISTS (SELECT 1 FROM {t} WHERE {live})",
    "drop_all": "DELETE FROM {t}",
    "sweep": "DELETE FROM {t} WHERE rowid IN (SELECT rowid FROM {t} WHERE expires_at <= ? "
    "ORDER BY expires_at LIMIT ?)",
}


def checked_path(path: object) -> str:
    """The path as a string; raises `ConfigurationError` for what no file can be called."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"path is the name of a file or ':memory:', not {path!r}")
    return name


def statements(table: str) -> dict[str, str]:
    """The statements for this table, by name; in that called "read" the marks are left open."""
    names = {"t": table, "live": _LIVE, "marks": "{marks}", "put": _SQL["put"].format(t=table)}
    return {name: text.format(**names) for name, text in _SQL.items()}


def is_table_name(name: object) -> bool:
    """Whether a table can be called so without quotes."""
    return isinstance(name, str) and _TABLE.fullmatch(name) is not None


class Worker:
    """A connection, and the only thread that uses it."""

    connection: sqlite3.Connection | None = None

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, job: Callable[..., T], *args: object) -> T:
        """What the job gives. A cancelled one has not begun, or is brought to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job, *args)

    async def end(self) -> None:
        """Close the connection after what has been asked of it."""
        closing = self._thread.submit(self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some failures, a full disk for one, SQLite has rolled back by itself.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def patiently(job: Callable[[], object], timeout: float) -> None:
    """Do what SQLite refuses at once, without waiting, while another process does the same."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            job()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(0.001 + random.random() * 0.01)


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary error code; 0 for errors of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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
