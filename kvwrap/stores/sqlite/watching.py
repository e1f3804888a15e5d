"""That something in an SQLite file has changed, by polling the counter of its commits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextvars import Context
from typing import Final, TypeVar

from kvwrap.core.concurrency import cancel_and_wait
from kvwrap.core.threads import SingleThread
from kvwrap.errors import StoreUnavailable
from kvwrap.stores.shared.feed import Line
from kvwrap.stores.sqlite.connections import connect_to_read, leave_open
from kvwrap.stores.sqlite.errors import FAILURES, translate_error
from kvwrap.stores.sqlite.file import DatabaseFile

T = TypeVar("T")

POLL: Final = 0.1
"""Seconds between two looks at the counter."""
_BUSY: Final = 1.0
"""Seconds for which a look waits for a process that restores the file after a crash."""


class SQLiteLink:
    """Tells `LOST` for each look at a file that finds other commits than the one before.

    SQLite tells a connection whether others have committed anything (`data_version`). So this has
    a connection and a thread of its own, for which the writes of this process are those of others.

    Args:
        feed: What the changes are told to.
        path: The file.
        store: Name of the store, for errors.
    """

    resumes = False

    def __init__(self, feed: Line, path: str, store: str) -> None:
        self.server = f"the SQLite file {path!r}"
        self._feed = feed
        self._path = path
        self._store = store
        self._thread: SingleThread | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: DatabaseFile | None = None
        self._version = 0
        self._poller: asyncio.Task[None] | None = None

    async def connect(self) -> bool:
        """Open the file for reading, and look at it from now on."""
        self._thread = SingleThread("kvwrap watching SQLite")
        self._version = await self._run(self._open)
        self._poller = asyncio.create_task(self._poll(), context=Context())
        return False

    def _open(self) -> int:
        connection, sees_changes = connect_to_read(self._path)
        self._connection = connection
        self._file = DatabaseFile(self._path, has_log=False)
        if not sees_changes:
            raise StoreUnavailable(
                f"changes of the SQLite file {self._path!r} cannot be watched, because this "
                "process may not use the files with its locks: give it permission to write to the "
                "file's folder",
                store=self._store,
            )
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY * 1000)}")
        return self._look()

    def _look(self) -> int:
        assert self._connection is not None
        assert self._file is not None
        self._file.check()
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    async def _poll(self) -> None:
        try:
            while True:
                await asyncio.sleep(POLL)
                await self.ping()
        except StoreUnavailable:
            self._feed.cut()

    async def ping(self) -> None:
        """Look now, and tell whether something was committed since the last look."""
        version = await self._run(self._look)
        if version != self._version:
            self._version = version
            self._feed.lose()

    async def _run(self, function: Callable[[], T]) -> T:
        assert self._thread is not None
        try:
            return await asyncio.wrap_future(self._thread.submit(function))
        except FAILURES as error:
            raise translate_error(error, self._path, _BUSY, store=self._store) from error

    async def close(self) -> None:
        """Close the connection, and end the thread."""
        poller, self._poller = self._poller, None
        if poller is not None:
            await cancel_and_wait((poller,))
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            thread.shutdown(wait=False)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._file is not None and self._file.is_exchanged:
                leave_open(connection)
            else:
                connection.close()
