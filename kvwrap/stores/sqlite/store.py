"""Entries in an SQLite file: durable, and shared by the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_seconds
from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.stores.shared import urls
from kvwrap.stores.sqlite.connections import (
    DAMAGE,
    MEMORY,
    ConnectionThread,
    checked_path,
    connect,
    translate_error,
)
from kvwrap.stores.sqlite.table import Table

T = TypeVar("T")


class SQLiteStore(Store):
    """Keeps entries in an SQLite file.

    Every call is one transaction: a batch is written whole or not at all, also if its process is
    killed or the power fails. A cancelled call is interrupted and rolled back unless it is being
    committed, and ends after that, so all later calls see the same state. Many processes may use
    one file on a local disk, and may start at the same time. Expired entries are never returned.
    Writes delete some of them each, and `cull` deletes all.

    Not for use across `fork`: open the store in the child. Not for network file systems, where
    file locks are unreliable.

    Args:
        path: Path of the file, which is created if it is missing, in an existing folder; or
            ":memory:" for entries that last as long as the store is open. A relative path is made
            absolute when the store is created.
        table: Name of the table; several stores can share a file, each with its own table.
        timeout: Seconds to wait for transactions of other processes; 0 to fail immediately.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if other transactions held the file for `timeout` seconds.
        StoreFull: If the disk is full.
        StoreUnavailable: If the file cannot be opened or is not an SQLite database.
        ValueTooLarge: For a value that SQLite cannot hold (1 GB with the usual build options).
    """

    capabilities = OPERATIONS | {Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        table: str = "kvwrap",
        timeout: float = 5.0,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer)
        given = checked_path(path)
        # A relative path is that of the folder in which the store was created, whatever folder
        # the process is in when the file is opened.
        self._path = given if given == MEMORY else str(Path(given).absolute())
        self._timeout = checked_seconds(timeout, "timeout", zero=True)
        self._table = Table(table, self.clock, store=self.name)
        if self._path == MEMORY:
            self.capabilities -= {Capability.PERSISTENT, Capability.SHARED}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `sqlite:///relative/path`, `sqlite:////absolute/path` or `sqlite://`.

        The last one is in memory. Options: `table`, `timeout`.

        Raises:
            ConfigurationError: The URL has a host, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "sqlite")
        if parts.netloc:
            # A host with a user and password is not shown.
            host = "" if "@" in url else f"; got the host {parts.netloc!r}"
            raise ConfigurationError(
                "the URL of an SQLiteStore must have no host, as in sqlite:///app.db (relative "
                f"path) or sqlite:////var/lib/app.db (absolute path){host}"
            )
        options = urls.parse_options(parts.query, {"table": urls.TEXT, "timeout": urls.NUMBER})
        return cls(urls.path_of(parts) or MEMORY, **options)

    @property
    def location(self) -> str:
        path = self._path if self._path == MEMORY else str(Path(self._path).resolve())
        return f"table {self._table.name!r} of the SQLite file {path!r}"

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        name = f"kvwrap {Path(self._path).name}"
        self._pid = os.getpid()
        self._writer = self._reader = ConnectionThread(name, self._timeout)
        try:
            await self._run_on(self._writer, self._open, self._writer)
            if self._path != MEMORY:
                # A second connection, so that reads do not wait while a write waits for the disk.
                # A database in memory belongs to one connection.
                self._reader = ConnectionThread(f"{name} reader", self._timeout)
                await self._run_on(self._reader, self._connect, self._reader)
        except BaseException:
            await self.teardown()
            raise

    async def teardown(self) -> None:
        if os.getpid() == self._pid:
            for thread in dict.fromkeys((self._reader, self._writer)):
                await thread.close()

    def _connect(self, thread: ConnectionThread) -> sqlite3.Connection:
        folder = Path(self._path).parent
        if not folder.is_dir():
            raise StoreUnavailable(
                f"the SQLite file {self._path!r} must be in an existing folder; there is no folder "
                f"{str(folder)!r}: create it, or give the store another path",
                store=self.name,
            )
        thread.connection = connection = connect(self._path, self._timeout)
        return connection

    def _open(self, thread: ConnectionThread) -> None:
        connection = self._connect(thread)
        connection.execute("PRAGMA busy_timeout = 0")  # the thread waits by itself
        thread.retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        with thread.transaction(connection):
            self._table.create(connection)

    # -- between the event loop and the threads ----------------------------------------

    async def _run_on(
        self, thread: ConnectionThread, function: Callable[..., T], *args: object
    ) -> T:
        try:
            return await thread.run(function, *args)
        except DAMAGE as error:
            raise translate_error(error, self._path, self._timeout, store=self.name) from error

    async def _run_read(self, function: Callable[..., T], *args: object) -> T:
        await self._check_usable()
        return await self._run_on(self._reader, function, self._reader.connection, *args)

    async def _run_write(self, function: Callable[..., T], *args: object) -> T:
        await self._check_usable()
        connection = self._writer.connection
        return await self._run_on(self._writer, self._run_transaction, function, connection, *args)

    async def _check_usable(self) -> None:
        if not self.is_open:
            await self.ready()
        if os.getpid() != self._pid:
            raise StoreUnavailable(
                "an SQLiteStore must be used in the process that opened it; this is a process "
                "forked from that one: open another store in the child",
                store=self.name,
            )

    def _run_transaction(
        self, function: Callable[..., T], connection: sqlite3.Connection, *args: object
    ) -> T:
        with self._writer.transaction(connection):
            return function(connection, *args)

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._run_read(self._table.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._run_write(self._table.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._run_write(self._table.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._run_write(self._table.touch, collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self._run_read(self._table.list_keys, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self._run_read(self._table.list_collections)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._run_read(self._table.count_range, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._run_write(self._table.drop_range, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        return await self._run_write(self._table.drop, collection)

    async def drop_all(self) -> bool:
        return await self._run_write(self._table.drop_all)

    async def sweep(self) -> None:
        while await self._run_write(self._table.sweep):
            pass

    async def scrub(self) -> None:
        """Empty the log of recent writes, which still has what they replaced.

        The file itself keeps nothing: what a connection of this class replaces or deletes is
        overwritten (`secure_delete`). Free pages of other programs' connections remain, and
        copies of the file. While another process reads, this waits for up to `timeout` seconds.

        Raises:
            StoreTimeout: The file was in use all the time.
        """
        await self._check_usable()
        if self._path != MEMORY:
            await self._run_on(self._writer, self._truncate_log)

    def _truncate_log(self) -> None:
        connection = self._writer.connection
        assert connection is not None

        def truncate() -> None:
            # Returns a row instead of raising.
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                error = sqlite3.OperationalError("the log is in use")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                error.sqlite_errorname = "SQLITE_BUSY"
                raise error

        self._writer.retry_while_busy(truncate)

    async def ping(self) -> None:
        await self._run_read(self._table.probe)
