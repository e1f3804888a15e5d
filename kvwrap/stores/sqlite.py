"""Entries in an SQLite file: durable, and shared by many processes of one machine."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final, Self, TypeVar

from kvwrap.backends import urls
from kvwrap.backends.sqlite.statements import (
    Worker,
    after,
    checked_path,
    code_of,
    is_busy,
    is_table_name,
    patiently,
    signed,
    statements,
    transaction,
)
from kvwrap.core.capability import Capability
from kvwrap.core.checked import checked_seconds
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, end_of
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, Page, Span
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.errors import (
    ConfigurationError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)

T = TypeVar("T")

_MEMORY: Final = ":memory:"
_CHUNK: Final = 512
"""Keys in one SELECT; every SQLite takes at least 999 variables."""
_SWEPT: Final = 1000
"""Expired rows freed in one transaction by `cull`, so that writers never wait for all."""


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

    capabilities = frozenset(
        {
            Capability.KEYS,
            Capability.RANGE,
            Capability.COLLECTIONS,
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
            Capability.CULL,
            Capability.PERSISTENT,
            Capability.SHARED,
        }
    )

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
        if not is_table_name(table):
            raise ConfigurationError(
                "a table's name is letters, digits and underscores, and does not begin with "
                f"'sqlite_': not {table!r}"
            )
        self._timeout = checked_seconds(timeout, "timeout", zero=True)
        self._table = table
        self._sql = statements(table)
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
        worker.connection = connection = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        # FULL: a commit is on the disk before it is answered. The others do the same on
        # macOS, where syncing alone does not reach the disk.
        for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _open(self, worker: Worker) -> None:
        connection = self._connect(worker)
        patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._timeout)
        with transaction(connection):
            connection.execute(self._sql["table"])
            try:
                connection.execute(self._sql["probe"])
            except sqlite3.OperationalError as error:
                raise ConfigurationError(
                    f"the table {self._table!r} is not one of kvwrap's: name another as table=",
                    store=self.name,
                ) from error
            connection.execute(self._sql["index"])

    # -- between the event loop and the threads ----------------------------------------

    async def _on(self, worker: Worker, job: Callable[..., T], *args: object) -> T:
        try:
            return await worker.run(job, *args)
        except sqlite3.Error as error:
            raise self._failure(error) from error

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

    def _failure(self, error: sqlite3.Error) -> StoreUnavailable:
        if is_busy(error):
            kind: type[StoreUnavailable] = StoreTimeout
            message = f"other transactions held the file for {self._timeout} seconds"
        elif code_of(error) == sqlite3.SQLITE_FULL:
            kind, message = StoreFull, "there is no room left for the file"
        else:
            # By its name: some errors' texts quote what is stored.
            what = getattr(error, "sqlite_errorname", type(error).__name__)
            kind, message = StoreUnavailable, f"SQLite cannot use {self._path!r} ({what})"
        return kind(message, store=self.name)

    # -- the primitives, each with what it does on a thread ----------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._reading(self._read, collection, keys)

    def _read(
        self, connection: sqlite3.Connection, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _CHUNK):
            chunk = list(keys[start : start + _CHUNK])
            # As many marks as the next power of two, so that SQLite knows the statement.
            chunk += chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
            marks = ", ".join("?" * len(chunk))
            rows = connection.execute(
                self._sql["read"].format(marks=marks), (collection or "", *chunk)
            )
            found.update(rows)
        return [
            self._live(Entry.from_bytes(found[key], collection, key, self.name))
            if key in found
            else None
            for key in keys
        ]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._writing(self._write, collection, keys, entries, expected)

    def _write(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        now = self.clock.time() * 1000
        rows = [self._row(connection, *row) for row in zip(repeat(collection), keys, entries)]
        connection.execute(self._sql["sweep"], (now, 2 * len(rows)))
        if expected is None:
            connection.executemany(self._sql["put"], rows)
            return [True] * len(rows)
        written = []
        for row, wanted in zip(rows, expected, strict=True):
            if wanted is None:
                cursor = connection.execute(self._sql["put"], row)
            elif wanted is ABSENT:
                cursor = connection.execute(self._sql["put_absent"], (*row, now))
            else:
                cursor = connection.execute(self._sql["put_same"], (*row, signed(wanted), now))
            written.append(cursor.rowcount == 1)
        return written

    def _row(
        self, connection: sqlite3.Connection, collection: Collection, key: str, entry: Entry
    ) -> tuple[object, ...]:
        data = entry.to_bytes(collection, key)
        # SQLite's limit is on the row: its key and some bytes of bookkeeping are in it, too.
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        if len(data) + 4 * len(key) + 4 * len(collection or "") + 100 > limit:
            raise ValueTooLarge(
                f"{len(data)} bytes are more than SQLite's {limit}: nothing was written",
                store=self.name,
                collection=collection,
                key=key,
            )
        return end_of(entry.expires_at) or None, signed(entry.version), data, collection or "", key

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._writing(self._remove, collection, keys, expected)

    def _remove(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        now = self.clock.time() * 1000
        removed = []
        for index, key in enumerate(keys):
            wanted = None if expected is None else expected[index]
            if wanted is ABSENT:
                removed.append(False)
                continue
            which, more = ("remove", ()) if wanted is None else ("remove_same", (signed(wanted),))
            rows = connection.execute(self._sql[which], (collection or "", key, *more)).fetchall()
            removed.append(any(end is None or end > now for (end,) in rows))
        return removed

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._writing(self._touch, collection, keys, expires)

    def _touch(
        self,
        connection: sqlite3.Connection,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
    ) -> list[bool]:
        found = self._read(connection, collection, keys)
        rows = [
            self._row(connection, collection, key, entry.with_expiry(end, random.getrandbits(64)))
            for key, entry, end in zip(keys, found, expires, strict=True)
            if entry is not None
        ]
        connection.executemany(self._sql["put"], rows)
        return [entry is not None for entry in found]

    async def list_keys(self, collection: Collection, span: Span, cursor: object) -> Page:
        return await self._reading(self._list_keys, collection, span, cursor)

    def _list_keys(
        self, connection: sqlite3.Connection, collection: Collection, span: Span, cursor: object
    ) -> Page:
        # The cursor is where to go on: right after the last key given.
        first = cursor if isinstance(cursor, str) else max(span.prefix, span.start or "")
        ends = [end for end in (span.end, after(span.prefix)) if end is not None]
        rows = connection.execute(
            self._sql["keys_below" if ends else "keys"],
            (
                collection or "",
                first,
                *([min(ends)] if ends else ()),
                self.clock.time() * 1000,
                PAGE_SIZE,
            ),
        )
        keys = [key for (key,) in rows]
        return Page(keys, keys[-1] + "\0" if len(keys) == PAGE_SIZE else None)

    async def list_collections(self) -> list[Collection]:
        return await self._reading(self._list_collections)

    def _list_collections(self, connection: sqlite3.Connection) -> list[Collection]:
        rows = connection.execute(self._sql["collections"], (self.clock.time() * 1000,))
        return [name or None for (name,) in rows]

    async def drop(self, collection: Collection) -> bool:
        return await self._writing(self._drop, "any_in", "drop", (collection or "",))

    async def drop_all(self) -> bool:
        return await self._writing(self._drop, "any", "drop_all", ())

    def _drop(
        self, connection: sqlite3.Connection, asked: str, dropped: str, names: tuple[str, ...]
    ) -> bool:
        row = connection.execute(self._sql[asked], (self.clock.time() * 1000, *names)).fetchone()
        connection.execute(self._sql[dropped], names)
        return bool(row[0])

    async def sweep(self) -> None:
        while await self._writing(self._sweep) == _SWEPT:
            pass

    def _sweep(self, connection: sqlite3.Connection) -> int:
        return connection.execute(self._sql["sweep"], (self.clock.time() * 1000, _SWEPT)).rowcount

    async def ping(self) -> None:
        await self._reading(lambda connection: connection.execute(self._sql["probe"]).fetchall())
