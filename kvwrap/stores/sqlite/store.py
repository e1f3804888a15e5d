"""Entries in an SQLite file: durable, and shared by many processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

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
    Worker,
    checked_path,
    connect,
    failure,
    retry_while_busy,
    transaction,
)
from kvwrap.stores.sqlite.table import Table

T = TypeVar("T")

_MEMORY: Final = ":memory:"


class SQLiteStore(Store):
    """Keeps entries in an SQLite file.

    Every call is one transaction: a batch is written whole or not at all, also when its
    caller is cancelled, its process killed or the power lost. Many processes may use one
    file on a local disk, and start at once. Expired entries are never given back; their
    room is freed little by little as others are written, and all at once by `cull`.

    Not for use across `fork`: open the store in the child. Not for network file systems,
    whose locks do not hold.

    Args:
        path: The file, made if it is missing, in a folder that exists; or ":memory:" for
            entries that last as long as the store is open.
        table: The table used; several stores can share a file, each with its own.
        timeout: Seconds to wait for transactions of other processes; 0 for not at all.
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise.

    Raises:
        StoreTimeout: From any method, when others have held the file for `timeout`.
        StoreFull: When the disk is full.
        StoreUnavailable: When the file cannot be opened or is no SQLite database.
        ValueTooLarge: For a value that SQLite cannot hold (1 GB as it is usually built).
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
        self._path = checked_path(path)
        self._timeout = checked_seconds(timeout, "timeout", zero=True)
        self._table = Table(table, self.clock, owner=self.name)
        if self._path == _MEMORY:
            self.capabilities -= {Capability.PERSISTENT, Capability.SHARED}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of `sqlite:///relative/path`, `sqlite:////absolute/path` or `sqlite://`.

        The last one is in memory. Options: `table`, `timeout`.
        """
        parts = urls.split(url, "sqlite")
        if parts.netloc:
            raise ConfigurationError(
                "an SQLite URL names no host: sqlite:///relative/path or sqlite:////absolute/path"
            )
        given = urls.options(parts.query, {"table": str, "timeout": urls.number})
        return cls(urls.path_of(parts) or _MEMORY, **given)

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        name = f"kvwrap {Path(self._path).name}"
        self._pid = os.getpid()
        self._writer = self._reader = Worker(name)
        try:
            await self._on(self._writer, self._open, self._writer)
            if self._path != _MEMORY:
                # Readers need not wait for a writer that waits for the disk. A database in
                # memory belongs to one connection.
                self._reader = Worker(f"{name} reader")
                await self._on(self._reader, self._connect, self._reader)
        except BaseException:
            await self.teardown()
            raise

    async def teardown(self) -> None:
        if os.getpid() == self._pid:
            for worker in dict.fromkeys((self._reader, self._writer)):
                await worker.end()

    def _connect(self, worker: Worker) -> sqlite3.Connection:
        folder = Path(self._path).parent
        if not folder.is_dir():
            raise StoreUnavailable(f"there is no folder {str(folder)!r}", store=self.name)
        worker.connection = connection = connect(self._path, self._timeout)
        return connection

    def _open(self, worker: Worker) -> None:
        connection = self._connect(worker)
        retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._timeout)
        with transaction(connection):
            self._table.make(connection)

    # -- between the event loop and the threads ----------------------------------------

    async def _on(self, worker: Worker, job: Callable[..., T], *args: object) -> T:
        try:
            return await worker.run(job, *args)
        except sqlite3.Error as error:
            raise failure(error, self._path, self._timeout, store=self.name) from error

    async def _reading(self, job: Callable[..., T], *args: object) -> T:
        await self._usable()
        return await self._on(self._reader, job, self._reader.connection, *args)

    async def _writing(self, job: Callable[..., T], *args: object) -> T:
        await self._usable()
        return await self._on(self._writer, self._whole, job, self._writer.connection, *args)

    async def _usable(self) -> None:
        if not self.is_open:
            await self.ready()
        if os.getpid() != self._pid:
            raise StoreUnavailable(
                "the store was opened before a fork: open another one in the child",
                store=self.name,
            )

    def _whole(self, job: Callable[..., T], connection: sqlite3.Connection, *args: object) -> T:
        with transaction(connection):
            return job(connection, *args)

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._reading(self._table.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._writing(self._table.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._writing(self._table.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._writing(self._table.touch, collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self._reading(self._table.list_keys, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self._reading(self._table.list_collections)

    async def drop(self, collection: Collection) -> bool:
        return await self._writing(self._table.drop, collection)

    async def drop_all(self) -> bool:
        return await self._writing(self._table.drop_all)

    async def sweep(self) -> None:
        while await self._writing(self._table.sweep):
            pass

    async def ping(self) -> None:
        await self._reading(self._table.probe)
