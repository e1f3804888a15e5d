"""Connections to a file of SQLite, each on a thread of its own, and their transactions."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from kvwrap.errors import ConfigurationError, StoreFull, StoreTimeout, StoreUnavailable

T = TypeVar("T")


def checked_path(path: object) -> str:
    """The path as a string; raises `ConfigurationError` for what no file can be called."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"path is the name of a file or ':memory:', not {path!r}")
    return name


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
    """The block, whole or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some failures, a full disk for one, SQLite has rolled back by itself.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def retry_while_busy(job: Callable[[], object], timeout: float) -> None:
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


def connect(path: str, timeout: float) -> sqlite3.Connection:
    """A connection that waits so many seconds for transactions of others."""
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    # FULL: a commit is on the disk before it is answered. The others do the same on
    # macOS, where syncing alone does not reach the disk.
    try:
        for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def failure(error: sqlite3.Error, path: str, timeout: float, *, store: str) -> StoreUnavailable:
    """What to raise for an error of SQLite."""
    if is_busy(error):
        message = f"other transactions held the file for {timeout} seconds"
        return StoreTimeout(message, store=store)
    if _code_of(error) == sqlite3.SQLITE_FULL:
        return StoreFull("there is no room left for the file", store=store)
    # By its name: some errors' texts quote what is stored.
    what = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"SQLite cannot use {path!r} ({what})", store=store)


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary error code; 0 for errors of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another transaction was in the way."""
    return _code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
