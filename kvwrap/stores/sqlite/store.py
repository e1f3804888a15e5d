"""Entries in an SQLite file: durable, and shared by the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from kvwrap.core.capability import OPERATIONS, Capabilities, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.turns import TurnBudget
from kvwrap.core.validation import checked_count, checked_flag, checked_seconds
from kvwrap.errors import ConfigurationError, ReadOnlyViolation
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.feed import Feed
from kvwrap.stores.sqlite.connections import (
    MEMORY,
    Synchronous,
    checked_client,
    checked_path,
    path_of,
)
from kvwrap.stores.sqlite.database import Database
from kvwrap.stores.sqlite.errors import Later
from kvwrap.stores.sqlite.table import Table
from kvwrap.stores.sqlite.watching import SQLiteLink

_CHANGES: Final = frozenset(
    {
        Capability.COMPARE_AND_PUT,
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
        Capability.CULL,
    }
)
"""What a file that can only be read makes impossible."""

_KEYS_AT_ONCE: Final = 128
"""Reads of more keys in a turn of the event loop are made on a thread: they would block it."""

_WATCH_TIMEOUT: Final = 5.0
"""Seconds that a look for changes may take."""

_OPTIONS: Final = {
    "table": urls.TEXT,
    "max_entries": urls.INTEGER,
    "max_bytes": urls.INTEGER,
    "timeout": urls.NUMBER,
    "synchronous": urls.TEXT,
    "read_only": urls.FLAG,
    "threaded_reads": urls.FLAG,
    "default_collection": urls.TEXT,
}


class SQLiteStore(Store):
    """Keeps entries in an SQLite file.

    Every call is one transaction, or shares one with calls that waited at the same time: a batch is
    written whole or not at all, also if its process is killed or the power fails. A cancelled call
    is interrupted and rolled back unless it is being committed, and ends after that, so all later
    calls see the same state. Many processes may use one file on a local disk, may start at the same
    time, and write in turn. Expired entries are never returned. Writes delete some of them each,
    and `cull` deletes all.

    When a limit is reached, expired entries are removed first, then those that S3-FIFO chooses:
    entries that were not used again soon after they were put, then those that were not used lately,
    by any process. Reading writes nothing.

    A file that this process may not change is opened for reading. Writing then raises
    `ReadOnlyViolation`.

    Not for use across `fork`: open the store in the child. Not for network file systems, where
    file locks are unreliable.

    Args:
        path: Path of the file, which is created if it is missing, in an existing folder; or
            ":memory:" for entries that last as long as the store is open. A relative path is made
            absolute when the store is created. Nothing with `client`.
        client: A connection of the module `sqlite3` to use instead, opened with
            `check_same_thread=False`. It is never closed, and its settings and other tables are
            left as they are. While the store is open, begin no transactions with it.
        table: Name of the table; several stores can share a file, each with its own table.
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size in bytes of the entries as they are stored, with their headers
            and without their keys; None for no limit. The file is somewhat larger.
        timeout: Seconds to wait for transactions of other processes; 0 to fail immediately.
        synchronous: "full" for commits that are on the disk before a call returns; "normal" for
            faster ones, of which the latest are lost if the power fails, though not if the process
            is killed.
        read_only: True to open the file for reading only.
        threaded_reads: True to make all reads on a thread, for files larger than the memory.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if other transactions held the file for `timeout` seconds.
        StoreFull: If the disk is full; removals still work.
        StoreUnavailable: If the file cannot be opened, is not an SQLite database, or was removed or
            replaced while it was open.
        ValueTooLarge: For an entry that alone is larger than `max_bytes`, or that SQLite cannot
            hold (1 GB with the usual build options).
    """

    traits = frozenset({"tells_loss_only"})
    capabilities = OPERATIONS | {Capability.WATCH, Capability.PERSISTENT, Capability.SHARED}
    has_relative_urls = True

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        client: sqlite3.Connection | None = None,
        table: str = "kvwrap",
        max_entries: int | None = None,
        max_bytes: int | None = None,
        timeout: float = 5.0,
        synchronous: Synchronous = "full",
        read_only: bool = False,
        threaded_reads: bool = False,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if (path is None) == (client is None):
            raise ConfigurationError(
                "an SQLiteStore must have either the path of a file or a `client`; got "
                + ("neither" if path is None else "both")
            )
        if synchronous not in ("full", "normal"):
            raise ConfigurationError(
                f"`synchronous` must be 'full' or 'normal'; got {synchronous!r}"
            )
        self._path = checked_path(path) if client is None else path_of(checked_client(client))
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit is not None:
                checked_count(limit, name)
        self._is_bounded = max_entries is not None or max_bytes is not None
        is_threaded = checked_flag(threaded_reads, "threaded_reads")
        self._at_once = TurnBudget(0 if is_threaded else _KEYS_AT_ONCE)
        self._table = Table(
            table, self.clock, store=self.name, max_entries=max_entries, max_bytes=max_bytes
        )
        self._database = Database(
            self._path,
            self._table,
            client=client,
            timeout=checked_seconds(timeout, "timeout", zero=True),
            synchronous=synchronous,
            read_only=checked_flag(read_only, "read_only"),
            store=self.name,
        )
        self.capabilities = self._possible()
        self._feed = Feed(
            self._path,
            lambda line: SQLiteLink(line, self._path, self.name),
            self.clock,
            timeout=_WATCH_TIMEOUT,
            owner=self.name,
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `sqlite:///relative/path`, `sqlite:////absolute/path` or `sqlite://`.

        The last one is in memory. Options: `table`, `max_entries`, `max_bytes`, `timeout`,
        `synchronous`, `read_only`, `threaded_reads`.

        Raises:
            ConfigurationError: The URL has a host, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "sqlite")
        path = urls.file_of(parts, "an SQLiteStore")
        options = urls.parse_options(parts.query, _OPTIONS)
        return cls(path or MEMORY, **options)

    @property
    def location(self) -> str:
        if self._path == MEMORY:
            return self.name
        return f"table {self._table.name!r} of the SQLite file {str(Path(self._path).resolve())!r}"

    async def evicts(self) -> str | None:
        if not self._is_bounded:
            return None
        return "entries are evicted to keep `max_entries` or `max_bytes`"

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        await self._database.open(create=self.creates)
        self.capabilities = self._possible()

    async def teardown(self) -> None:
        await self._feed.close()
        await self._database.close()

    def _possible(self) -> Capabilities:
        possible = type(self).capabilities
        if self._path == MEMORY:
            possible -= {Capability.WATCH, Capability.PERSISTENT, Capability.SHARED}
        return possible - _CHANGES if self._database.is_read_only else possible

    async def _check_can_change(self) -> None:
        if not self.is_open:
            await self.ready()
        if self._database.is_read_only:
            raise ReadOnlyViolation(
                f"the SQLite file {self._path!r} is open for reading only, and this call would "
                "change it: give the process permission to write to the file and its folder",
                store=self.name,
            )

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        at_once = self._at_once.take(len(keys)) or await self._at_once.take_next(len(keys))
        if not self.is_open:
            await self.ready()
        if at_once:
            with suppress(Later):
                return self._database.read_at_once(self._table.read_small, collection, keys)
        return await self._database.read(self._table.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._check_can_change()
        return await self._database.add(self._table.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._check_can_change()
        return await self._database.remove(self._table.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self._check_can_change()
        return await self._database.change(self._table.touch, collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        await self.ready()
        return await self._database.read(self._table.list_keys, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        await self.ready()
        return await self._database.read(self._table.list_collections)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self.ready()
        return await self._database.read(self._table.count_range, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self._check_can_change()
        return await self._database.remove(self._table.drop_range, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        await self._check_can_change()
        return await self._database.remove(self._table.drop, collection)

    async def drop_all(self) -> bool:
        await self._check_can_change()
        return await self._database.remove(self._table.drop_all)

    async def sweep(self) -> None:
        await self._check_can_change()
        while await self._database.remove(self._table.sweep):
            pass

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        if Capability.WATCH not in self.capabilities:
            raise self._unsupported("watch for changes in memory: use MemoryStore")
        await self.ready()
        return await self._feed.subscribe(scope, listener)

    async def scrub(self) -> None:
        """Empty the log of recent writes, which still has what they replaced.

        The file itself keeps nothing: what a connection of this class replaces or deletes is
        overwritten (`secure_delete`). Free pages of other programs' connections remain, and
        copies of the file. While another process reads, this waits for up to `timeout` seconds.

        Raises:
            StoreTimeout: The file was in use all the time.
        """
        await self.ready()
        await self._database.empty_log()

    async def ping(self) -> None:
        await self.ready()
        await self._database.read(self._table.probe)
