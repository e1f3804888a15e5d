"""Connections to an SQLite file, each on a thread of its own, and their transactions."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from kvwrap.core.threads import SingleThread
from kvwrap.errors import ConfigurationError, StoreFull, StoreTimeout, StoreUnavailable

T = TypeVar("T")

MEMORY: Final = ":memory:"
"""The path of a database in memory."""

_PAUSE: Final = 0.002
"""Seconds between two attempts to begin a transaction, or to interrupt a call."""


def checked_path(path: object) -> str:
    """Return the path as a string.

    Raises:
        ConfigurationError: It cannot be the path of a file.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(f"`path` must be the path of a file, or ':memory:'; got {path!r}")
    return text


class Interrupted(Exception):
    """The call was cancelled, so its transaction is rolled back; nobody waits for this error."""


class _Call:
    """A call on a thread; `is_cancelled` is set by another thread."""

    is_cancelled = False


class ConnectionThread:
    """A connection, and the only thread that uses it.

    Args:
        name: Name of the thread.
        timeout: Seconds to wait for transactions of others.

    Attributes:
        connection: The connection, which a function passed to `run` opens; None before.
    """

    connection: sqlite3.Connection | None = None

    def __init__(self, name: str, timeout: float) -> None:
        self._executor = SingleThread(name)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._interruptible: _Call | None = None

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Run a function on the thread and return its result.

        If this is cancelled, the function does not start, or it is interrupted and its
        transaction is rolled back, unless it is being committed. `CancelledError` is raised
        after that, so all later calls, on other connections too, see the same state.
        """
        call = _Call()
        running = self._executor.submit(self._run, call, function, *args)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            call.is_cancelled = True
            while not running.done():
                self._interrupt(call)
                with suppress(asyncio.CancelledError):  # raised below, when it has ended
                    await asyncio.sleep(_PAUSE)
            raise

    def _run(self, call: _Call, function: Callable[..., T], *args: object) -> T:
        self._interruptible = call
        try:
            return function(*args)
        finally:
            with self._lock:
                self._interruptible = None

    def _interrupt(self, call: _Call) -> None:
        with self._lock:
            if self._interruptible is call and self.connection is not None:
                self.connection.interrupt()

    def _end_interruptions(self) -> None:
        """Let the call run to its end.

        Raises:
            Interrupted: It has been cancelled before.
        """
        with self._lock:
            call, self._interruptible = self._interruptible, None
        if call is not None and call.is_cancelled:
            raise Interrupted

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Run the block as one transaction, which is rolled back if the block raises."""
        self.retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            yield
            self._end_interruptions()
            self.retry_while_busy(lambda: connection.execute("COMMIT"))
        except BaseException:
            with self._lock:
                self._interruptible = None
            # After some errors, such as a full disk, SQLite has rolled back automatically.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def retry_while_busy(self, function: Callable[[], object]) -> None:
        """Call a function until the file is not locked, for up to `timeout` seconds.

        SQLite's own waiting cannot be interrupted. Its pauses grow, so that those who have waited
        for a long time lose to those who have just come.

        Raises:
            Interrupted: The call was cancelled meanwhile.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                function()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            else:
                return
            call = self._interruptible
            if call is not None and call.is_cancelled:
                raise Interrupted
            time.sleep(_PAUSE * (0.5 + random.random()))

    async def close(self) -> None:
        """Close the connection after the functions passed to `run`, and end the thread."""
        closing = self._executor.submit(self._close_connection)
        self._executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _close_connection(self) -> None:
        if self.connection is not None:
            self.connection.close()


def connect(path: str, timeout: float) -> sqlite3.Connection:
    """Open a connection that waits up to `timeout` seconds for transactions of others.

    A file that does not exist is created for this user alone. SQLite gives the files beside it
    the same permissions.
    """
    if path != MEMORY:
        # Errors are SQLite's to tell, with its own names.
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    # FULL: a commit is on the disk before it returns. The other two do the same on macOS, where
    # syncing alone does not reach the disk.
    pragmas = ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON")
    # What is overwritten or deleted is erased, so that plaintext does not stay in free pages.
    try:
        for pragma in (*pragmas, "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


DAMAGE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the module raises for a damaged file, whose own text may be in the error's."""


def translate_error(error: Exception, path: str, timeout: float, *, store: str) -> StoreUnavailable:
    """Return the error to raise for an error of SQLite, which is to be its cause."""
    # The error is shown by its name, since the text of some quotes what is stored.
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    code = _code_of(error)
    if is_busy(error):
        return StoreTimeout(
            f"the SQLite file {path!r} must be free of other transactions within "
            f"timeout={timeout:g} seconds; they held it longer ({name}). Give the store a longer "
            "timeout, or make the other transactions shorter",
            store=store,
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"the disk has no space left for the SQLite file {path!r} ({name}): free some space",
            store=store,
        )
    if code == sqlite3.SQLITE_NOTADB:
        return StoreUnavailable(
            f"{path!r} must be an SQLite database or a new file; it is a file of another format, "
            f"or damaged ({name}). Give the store another path",
            store=store,
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailable(
            f"the SQLite file {path!r} cannot be opened ({name}): check that it is a file, not a "
            "folder, and that this process may read and write it",
            store=store,
        )
    return StoreUnavailable(
        f"SQLite cannot use the file {path!r} ({name}): check its permissions and its disk",
        store=store,
    )


def _code_of(error: Exception) -> int:
    """Return SQLite's primary error code; 0 for errors of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_busy(error: Exception) -> bool:
    """Return True if another transaction held a lock."""
    return _code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
