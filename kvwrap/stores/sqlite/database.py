"""An SQLite file with the threads of its connections: one that changes it, and one that reads."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from kvwrap.core.missing import NotThereYet, is_missing
from kvwrap.errors import StoreFull, StoreUnavailable
from kvwrap.stores.shared.paths import check_exists, missing_parent
from kvwrap.stores.sqlite.connections import (
    MEMORY,
    Synchronous,
    check_usable,
    connect,
    connect_to_read,
    has_table,
    leave_open,
    may_change,
)
from kvwrap.stores.sqlite.errors import FAILURES, Later, busy_error, code_of, translate_error
from kvwrap.stores.sqlite.file import DatabaseFile
from kvwrap.stores.sqlite.table import Table
from kvwrap.stores.sqlite.thread import ConnectionThread
from kvwrap.stores.sqlite.turnstile import Turnstile

T = TypeVar("T")


class Database:
    """Opens the connections to a file, and runs functions with them on their threads.

    Args:
        path: The file's path, absolute, or that of a database in memory.
        table: The table to use, which is created if it is missing.
        client: A connection to use for everything instead, and not to close.
        timeout: Seconds to wait for transactions of others.
        synchronous: What is on the disk when a change returns.
        read_only: True to open the file without changing anything.
        store: Name of the store, for errors.

    Attributes:
        is_read_only: True if the file is open and cannot be changed.
    """

    def __init__(
        self,
        path: str,
        table: Table,
        *,
        client: sqlite3.Connection | None,
        timeout: float,
        synchronous: Synchronous,
        read_only: bool,
        store: str,
    ) -> None:
        self.is_read_only = read_only
        self._path = path
        self._table = table
        self._client = client
        self._timeout = timeout
        self._synchronous: Synchronous = synchronous
        self._wants_to_read = read_only
        self._store = store

    # -- opening and closing -----------------------------------------------------------

    async def open(self, *, create: bool) -> None:
        """Open the file.

        Args:
            create: True to create the file and its table if they are missing, False to fail then.
        """
        name = f"kvwrap {Path(self._path).name}"
        self._pid = os.getpid()
        self.is_read_only = self._wants_to_read
        self._file: DatabaseFile | None = None
        self._writer = self._reader = ConnectionThread(name, self._timeout)
        try:
            await self._run(self._writer, self._open_first, create)
            if self._client is None and self._path != MEMORY and not self.is_read_only:
                # A second connection, so that reads do not wait while a write waits for the disk.
                # A database in memory belongs to one connection.
                self._reader = ConnectionThread(f"{name} reader", self._timeout)
                await self._run(self._reader, self._open_second)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections after all calls, and end the threads."""
        if os.getpid() == self._pid:
            for thread in dict.fromkeys((self._reader, self._writer)):
                await thread.close(partial(self._close, thread))

    def _open_first(self, create: bool) -> None:
        thread = self._writer
        if self._client is not None:
            check_usable(self._client)
            thread.connection = self._client
            self._adopt()
            self._limit(thread)
            return
        if not create and self._path != MEMORY:
            check_exists("the SQLite file", self._path, "sqlite", store=self._store)
        if message := missing_parent("the SQLite file", self._path, "sqlite"):
            raise StoreUnavailable(message, store=self._store)
        if self._wants_to_read or not may_change(self._path):
            connection = thread.connection = thread.retry_while_busy(self._connect_to_read)
            thread.retry_while_busy(lambda: self._table.check(connection))
            self.is_read_only = True
        else:
            connection = thread.connection = thread.retry_while_busy(self._connect)
            if not create and self._path != MEMORY:
                thread.retry_while_busy(lambda: self._check_table(connection))
                self._table.eviction = None  # who only reads keeps no limits, which need tables
            thread.retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"))
            thread.create(self._table.create)
            if self._path != MEMORY:
                self._file = DatabaseFile(self._path)
                thread.turnstile = Turnstile(self._path)
            self._limit(thread)
        thread.file = self._file

    def _check_table(self, connection: sqlite3.Connection) -> None:
        """Check the table, which this store may not create."""
        if not has_table(connection, self._table.name):
            raise NotThereYet(
                is_missing(f"the table {self._table.name!r} of the SQLite file {self._path!r}"),
                store=self._store,
            )
        self._table.check(connection)

    def _limit(self, thread: ConnectionThread) -> None:
        thread.finish = self._table.finish
        if self._table.eviction is not None and not self.is_read_only:
            self._table.eviction.open(None if self._path == MEMORY else self._path)

    def _adopt(self) -> None:
        """Create the table with the user's connection, or find it if that can only read."""
        try:
            self._writer.create(self._table.create)
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_READONLY:
                raise
            assert self._client is not None
            self._table.check(self._client)
            self.is_read_only = True

    def _open_second(self) -> None:
        self._reader.connection = self._reader.retry_while_busy(self._connect)
        self._reader.file = self._file

    def _connect(self) -> sqlite3.Connection:
        return connect(self._path, self._synchronous)

    def _connect_to_read(self) -> sqlite3.Connection:
        connection, sees_changes = connect_to_read(self._path)
        self._file = DatabaseFile(self._path, has_log=False, is_frozen=not sees_changes)
        return connection

    def _close(self, thread: ConnectionThread) -> None:
        connection = thread.connection
        if connection is not None and connection is not self._client:
            if self._file is not None and self._file.is_exchanged:
                leave_open(connection)
            else:
                connection.close()
        if thread.turnstile is not None:
            thread.turnstile.close()
        if thread is self._writer and self._table.eviction is not None:
            self._table.eviction.close()

    # -- between the event loop and the threads ----------------------------------------

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Call a function with a connection, which changes nothing, and return its result."""
        thread = self._reader
        reading = partial(function, self._check_process(thread), *args)
        return await self._run(thread, thread.retry_while_busy, reading)

    def read_at_once(self, function: Callable[..., T], *args: object) -> T:
        """Do what `read` does, on this thread.

        Raises:
            Later: It might have to wait.
        """
        self._check_process(self._reader)
        if self._client is not None or self._path == MEMORY:
            raise Later  # the only connection, which may be within a transaction
        return self._reader.run_at_once(function, *args)

    async def change(self, function: Callable[..., T], *args: object) -> T:
        """Call a function with a connection, and return its result when that is committed."""
        connection = self._check_process(self._writer)
        try:
            return await self._writer.change(function, connection, *args)
        except FAILURES as error:
            raise self._translate(error) from error

    def add(self, function: Callable[..., T], *args: object) -> Awaitable[T]:
        """Run a function as `change` does, which needs space on the disk."""
        return self.change(self._run_with_room, function, *args)

    async def remove(self, function: Callable[..., T], *args: object) -> T:
        """Run a function as `change` does, which removes entries, also if the disk is full."""
        try:
            return await self.change(function, *args)
        except StoreFull:
            return await self.change(_run_without_erasing, function, *args)

    async def empty_log(self) -> None:
        """Copy the log into the file, and truncate it."""
        self._check_process(self._writer)
        if self._path != MEMORY and not self.is_read_only:
            await self._run(self._writer, self._truncate_log)

    async def _run(self, thread: ConnectionThread, function: Callable[..., T], *args: object) -> T:
        try:
            return await thread.run(function, *args)
        except FAILURES as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> StoreUnavailable:
        return translate_error(error, self._path, self._timeout, store=self._store)

    def _check_process(self, thread: ConnectionThread) -> sqlite3.Connection:
        if os.getpid() != self._pid:
            raise StoreUnavailable(
                "an SQLiteStore must be used in the process that opened it; this is a process "
                "forked from that one: open another store in the child",
                store=self._store,
            )
        assert thread.connection is not None
        return thread.connection

    def _run_with_room(
        self, connection: sqlite3.Connection, function: Callable[..., T], *args: object
    ) -> T:
        if self._file is not None:
            self._file.check_room()
        return function(connection, *args)

    def _truncate_log(self) -> None:
        connection = self._writer.connection
        assert connection is not None

        def truncate() -> None:
            # Returns a row instead of raising.
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise busy_error()

        self._writer.retry_while_busy(truncate)


def _run_without_erasing(
    connection: sqlite3.Connection, function: Callable[..., T], *args: object
) -> T:
    """Run a function so that pages which become free need no space in the log."""
    (was_erasing,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete = OFF")
    try:
        return function(connection, *args)
    finally:
        connection.execute(f"PRAGMA secure_delete = {was_erasing}")
