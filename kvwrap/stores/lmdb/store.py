"""Entries in an LMDB environment: read at the speed of memory, by the processes of one machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from kvwrap.core.batch import add_succeeded
from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.threads import run_in_thread
from kvwrap.core.turns import TurnBudget
from kvwrap.core.validation import checked_count, checked_flag, checked_seconds, path_text
from kvwrap.errors import (
    ConfigurationError,
    KvwrapError,
    ReadOnlyViolation,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
)
from kvwrap.stores.lmdb import names, scrubbing, sharing
from kvwrap.stores.lmdb.environment import DATA_FILE, MIN_BYTES, Environment, Later, Options
from kvwrap.stores.lmdb.errors import OutOfSpace, driver, translate_error
from kvwrap.stores.lmdb.records import Records
from kvwrap.stores.lmdb.table import DELETED_AT_ONCE, Table
from kvwrap.stores.lmdb.writer import Call, Writer
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.paths import check_exists

if TYPE_CHECKING:
    import lmdb

T = TypeVar("T")
Synchronous = Literal["full", "normal", "off"]
_SYNCHRONOUS: Final = ("full", "normal", "off")

_KEYS: Final = 128
_BYTES_AT_ONCE: Final = 64 << 10
"""Reads of more keys, or of more bytes, are made on a thread: they would block the event loop."""

_REMOVED_WHEN_FULL: Final = 32
"""Keys that are removed in one transaction if there is no space for a larger one."""


class LMDBStore(Store):
    """Keeps entries in an LMDB environment, a folder with a file that all its users map.

    Every write is one transaction: a batch is written whole or not at all, also if its process
    is killed or the power fails. Writes that wait at the same time share a transaction and its
    wait for the disk. Any number of processes may use one folder on a local disk, and start at
    the same time: readers never wait, and writers wait for each other. A cancelled write never
    begins, or it ends before its call does, so all later calls see the same state. Expired
    entries are never returned. Writes delete some of them each, and `cull` deletes all.

    Reads of up to 128 keys in a turn of the event loop are made at once, on its thread. That takes
    3 microseconds for each key, or as long as the disk takes for pages that are not in memory.

    Not for use across `fork`: open the store in the child. Not for network file systems.

    Args:
        folder: Path of the folder, which is created if it is missing, in an existing one. A
            relative path is made absolute when the store is created.
        client: Instead of the folder, an `lmdb.Environment` opened with `max_dbs=2` or more. It
            is never closed, its map never grows, and its own options decide about durability.
        max_bytes: Maximum size in bytes of the file, at least 4 MiB; None for no limit. Writes
            use all of it but a 32nd part (at least 1 MiB), which removals need.
        synchronous: "full" for commits that are on the disk before a call returns. With
            "normal" the latest may be lost if the power fails or the operating system crashes;
            with "off" the whole file may be damaged by that. None loses anything acknowledged
            if only the process is killed.
        timeout: Seconds to wait for transactions of other processes.
        read_only: True to open an existing environment for reads only.
        threaded_reads: True to make all reads on a thread, for files larger than the memory.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From methods that write, if others wrote for `timeout` seconds.
        StoreFull: If the disk is full, or the file has `max_bytes`. Entries can be deleted.
        StoreUnavailable: If the folder cannot be used, was removed or exchanged, or is damaged.
        ReadOnlyViolation: From methods that write, with `read_only`.
        ValueTooLarge: For an entry of more than a quarter of `max_bytes`, or of 4 GiB.
    """

    capabilities = OPERATIONS | {Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        client: lmdb.Environment | None = None,
        max_bytes: int | None = None,
        synchronous: Synchronous = "full",
        timeout: float = 5.0,
        read_only: bool = False,
        threaded_reads: bool = False,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        self._driver = driver()
        self._client = client
        self._folder = self._checked_folder(folder, client)
        if max_bytes is not None and checked_count(max_bytes, "max_bytes") < MIN_BYTES:
            raise ConfigurationError(f"`max_bytes` must be at least {MIN_BYTES}; got {max_bytes}")
        if synchronous not in _SYNCHRONOUS:
            raise ConfigurationError(
                f"`synchronous` must be one of {', '.join(_SYNCHRONOUS)}; got {synchronous!r}"
            )
        self._options = Options(synchronous, max_bytes, checked_seconds(timeout, "timeout"))
        self._read_only = checked_flag(read_only, "read_only")
        if client is not None:
            self._read_only = client.flags()["readonly"]
        self._at_once = TurnBudget(0 if checked_flag(threaded_reads, "threaded_reads") else _KEYS)
        self._table = Table(self.clock, max_bytes, store=self.name)
        if self._read_only:
            self.capabilities -= {
                Capability.COMPARE_AND_PUT,
                Capability.DESTROY,
                Capability.DESTROY_COLLECTION,
                Capability.CULL,
            }

    def _checked_folder(self, folder: object, client: object) -> str:
        if client is not None:
            if folder is not None or not isinstance(client, self._driver.Environment):
                raise ConfigurationError(
                    "`client` must be an lmdb.Environment, given instead of `folder`; got "
                    f"{type(client).__name__}{'' if folder is None else ' and a folder'}"
                )
            path: str = client.path()
            return str(Path(path).absolute())
        text = path_text(folder)
        if text is None:
            raise ConfigurationError(f"`folder` must be the path of a folder; got {folder!r}")
        # A relative path is that of the folder in which the store was created.
        return str(Path(text).absolute())

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `lmdb:///absolute/folder`.

        Options: `max_bytes`, `synchronous`, `timeout`, `read_only`, `threaded_reads`.

        Raises:
            ConfigurationError: The URL has a host or no path, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "lmdb")
        path = urls.folder_of(parts, "an LMDBStore")
        known = {
            "max_bytes": urls.INTEGER,
            "synchronous": urls.TEXT,
            "timeout": urls.NUMBER,
            "read_only": urls.FLAG,
            "threaded_reads": urls.FLAG,
            "default_collection": urls.TEXT,
        }
        return cls(path, **urls.parse_options(parts.query, known))

    @property
    def location(self) -> str:
        return f"the LMDB environment in {str(Path(self._folder).resolve())!r}"

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        if not self.creates and self._client is None:
            check_exists("the LMDB environment", self._folder, "lmdb", store=self.name)
            data = str(Path(self._folder, DATA_FILE))
            check_exists("the LMDB file", data, "lmdb", store=self.name)
        opening = asyncio.ensure_future(run_in_thread(self._acquire))
        try:
            self._environment = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_back)
            raise
        except (self._driver.Error, OSError) as error:
            raise self._translated(error) from error
        try:
            await self._prepare()
        except BaseException:
            await self.teardown()
            raise

    def _acquire(self) -> Environment:
        if self._client is not None:
            return sharing.acquire_ready(self._client, self._options)
        return sharing.acquire(self._folder, self._options, read_only=self._read_only)

    async def _prepare(self) -> None:
        """Open the databases, unless another store of this process has done so."""
        environment = self._environment
        self._writer = Writer(environment)
        if environment.databases is not None:
            return
        if environment.is_read_only or not self.creates:
            opening = environment.reader.submit(environment.open_databases, None)
            environment.databases = await self._run(asyncio.wrap_future, opening)
        else:
            call = Call(environment.open_databases, needs_room=False)
            environment.databases = await self._run(self._writer.run, call)

    async def teardown(self) -> None:
        environment = self._environment
        if environment.is_inherited:
            return
        closing = environment.writer.submit(sharing.release, environment)
        # If another process holds up a write of this one, the environment is closed after that.
        await asyncio.wait((asyncio.wrap_future(closing),), timeout=self._options.timeout)

    # -- between the event loop and the threads ----------------------------------------

    def _translated(self, error: Exception) -> KvwrapError:
        return translate_error(error, self._folder, store=self.name)

    async def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            return await function(*args)
        except KvwrapError as error:
            error.store = error.store or self.name
            raise
        except (self._driver.Error, OutOfSpace, OSError) as error:
            raise self._translated(error) from error

    async def _check_usable(self) -> None:
        if not self.is_open:
            await self.ready()
        if self._environment.is_inherited:
            raise StoreUnavailable(
                "an LMDBStore must be used in the process that opened it; this is a process forked "
                "from that one: open another store in the child",
                store=self.name,
            )

    async def _read(self, function: Callable[..., T], *args: object, buffers: bool = True) -> T:
        await self._check_usable()
        return await self._run(self._read_in_thread, function, args, buffers)

    async def _read_in_thread(
        self, function: Callable[..., T], args: Sequence[object], buffers: bool
    ) -> T:
        environment = self._environment
        environment.check_files()
        return await asyncio.wrap_future(
            environment.reader.submit(environment.read, function, *args, buffers=buffers)
        )

    async def _write(self, function: Callable[..., T], *args: object, needs_room: bool) -> T:
        if self._read_only:
            raise ReadOnlyViolation(
                "this store must be opened without read_only=True to be written to",
                store=self.name,
            )
        await self._check_usable()
        databases = self._environment.databases
        assert databases is not None
        call = Call(
            lambda transaction: function(Records(databases, transaction), *args),
            needs_room=needs_room,
        )
        return await self._run(self._writer.run, call)

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        at_once = self._at_once.take(len(keys)) or await self._at_once.take_next(len(keys))
        await self._check_usable()
        if at_once:
            environment = self._environment
            try:
                environment.check_files()
                return environment.read_at_once(self._table.read, collection, keys, _BYTES_AT_ONCE)
            except Later:
                pass
            except KvwrapError as error:
                error.store = error.store or self.name
                raise
            except self._driver.Error as error:
                raise self._translated(error) from error
        return await self._read(self._table.read, collection, keys, buffers=False)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._write(
            self._table.write, collection, keys, entries, expected, needs_room=True
        )

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        try:
            return await self._remove(collection, keys, expected)
        except StoreFull:
            if len(keys) <= _REMOVED_WHEN_FULL:
                raise
        # A transaction needs a new page for each page that it changes, before it frees any.
        removed: list[bool] = []
        for start in range(0, len(keys), _REMOVED_WHEN_FULL):
            part = slice(start, start + _REMOVED_WHEN_FULL)
            try:
                removed += await self._remove(
                    collection, keys[part], None if expected is None else expected[part]
                )
            except KvwrapError as error:
                add_succeeded(error, keys, keys[:start])
                raise
        return removed

    async def _remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        return await self._write(self._table.remove, collection, keys, expected, needs_room=False)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._write(self._table.touch, collection, keys, expires, needs_room=True)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self._read(self._table.list_keys, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self._read(self._table.list_collections)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._read(self._table.count_range, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._drop(self._table.drop_some, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        return await self._drop(self._table.drop_names, names.prefix_of(collection)) > 0

    async def drop_all(self) -> bool:
        return await self._drop(self._table.drop_names, b"") > 0

    async def _drop(self, function: Callable[..., tuple[int, bool]], *args: object) -> int:
        """Delete in several transactions, so that others come between. Returns how many."""
        dropped, has_more = 0, True
        while has_more:
            count, has_more = await self._write(function, *args, needs_room=False)
            dropped += count
        return dropped

    async def sweep(self) -> None:
        some = DELETED_AT_ONCE
        while True:
            try:
                if not await self._write(self._table.sweep_some, some, needs_room=False):
                    return
            except StoreFull:
                if some == 1:
                    raise
                some = max(1, some // 10)  # expired entries are on as many pages

    async def scrub(self) -> None:
        """Erase what was overwritten and deleted, which is still in the file.

        All entries are written again, and the unused pages are overwritten. Copies of the file
        remain, and what the disk itself keeps.

        Raises:
            StoreTimeout: Another process kept the old pages in use by a long read, or did the
                same; try again.
        """
        await self._check_usable()
        if not await scrubbing.scrub(self._environment, self._write):
            raise StoreTimeout(
                "no other process must read during all of `scrub`; one did, so unused pages could "
                "not be overwritten: try again",
                store=self.name,
            )

    async def ping(self) -> None:
        await self._read(self._table.ping)


def _give_back(opening: asyncio.Task[Environment]) -> None:
    """Release an environment that was opened for a caller who has been cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        environment = opening.result()
        environment.writer.submit(sharing.release, environment)
