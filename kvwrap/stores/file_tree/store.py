"""Entries in files: a folder for each collection, and a file for each key that people can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, Final, Literal, ParamSpec, Self, TypeVar, get_args

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_flag, checked_seconds, path_text
from kvwrap.errors import ConfigurationError, ReadOnlyViolation
from kvwrap.stores.file_tree.entries import Entries
from kvwrap.stores.file_tree.form import FileForm
from kvwrap.stores.file_tree.listing import Files, Listing
from kvwrap.stores.file_tree.worker import Call, Worker
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.paths import check_exists

P = ParamSpec("P")
T = TypeVar("T")

Durability = Literal["full", "off"]

_CHANGES: Final = frozenset(
    {
        Capability.COMPARE_AND_PUT,
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
        Capability.CULL,
    }
)


class FileTreeStore(Store):
    """Keeps entries in a folder: a folder for each collection, and a file for each key.

    A file is a line of JSON about the entry, then the value, which is JSON too unless a layer
    changes it. A value that was edited in a text editor is read as it is then.

    Every file is replaced in one step, so no reader and no crash meets a half of it. Changes are
    made under locks that end with their process, so conditional writes are atomic for all
    processes of one machine. Batches are not: of an interrupted one, some keys are written. A
    cancelled call ends after the file in progress, so all later calls see the same state.
    Expired entries are never returned. Writes delete some of the files, and `cull` all.

    Links are not followed, and files of other programs are passed by and never replaced. Not for
    use across `fork`: open the store in the child.

    Args:
        folder: Path of the folder, which is created if it is missing, in an existing folder. A
            relative path is made absolute when the store is created.
        durability: "full" to have every change on the disk before its call returns. With "off",
            the last changes may be lost or damaged if the power fails or the machine stops, and
            nothing if only the process ends.
        raw: True if files without that first line are values too, in the format of the
            serializer. A value without an expiry that no layer has changed is written so.
        read_only: True to refuse all changes. So does a store whose folder this process may not
            write to.
        timeout: Seconds to wait for others that change the same file.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does: JSON, or with `raw` bytes
            unchanged.

    Raises:
        StoreTimeout: From methods that write, if others held a lock for `timeout` seconds.
        StoreFull: If the disk is full. Entries can be deleted.
        StoreUnavailable: If the folder cannot be used or was removed.
        AccessDenied: If the system does not permit this process to use a file.
        CorruptEntry: From any method, for a file that is damaged, or is another program's.
        ReadOnlyViolation: From methods that write, with `read_only`.
        ValueTooLarge: For an entry larger than the system's limit of files.
    """

    capabilities = OPERATIONS | {Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        raw: bool = False,
        read_only: bool = False,
        timeout: float = 5.0,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        raw = checked_flag(raw, "raw")
        if serializer is None:
            serializer = BytesSerializer() if raw else JSON
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        self._root = _checked_folder(folder)
        self._timeout = checked_seconds(timeout, "timeout")
        if durability not in get_args(Durability):
            raise ConfigurationError(f"`durability` must be 'full' or 'off'; got {durability!r}")
        is_durable = durability == "full"
        self._entries = Entries(
            self._root,
            FileForm(self.name, raw=raw),
            durable=is_durable,
            clock=self.clock,
            store=self.name,
        )
        self._listing = Listing(self._root, self._entries, durable=is_durable)
        is_refused = Path(self._root).is_dir() and not os.access(self._root, os.W_OK)
        self._read_only = checked_flag(read_only, "read_only") or is_refused
        if self._read_only:
            self.capabilities -= _CHANGES
        if raw:
            self.traits = self.traits | {"raw"}  # type: ignore[misc]  # of this instance

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `file-tree:///absolute/folder`.

        Options: `durability`, `raw`, `read_only`, `timeout`.

        Raises:
            ConfigurationError: The URL has a host or no path, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "file-tree")
        path = urls.folder_of(parts, "a FileTreeStore")
        known = {
            "durability": urls.TEXT,
            "raw": urls.FLAG,
            "read_only": urls.FLAG,
            "timeout": urls.NUMBER,
            "default_collection": urls.TEXT,
        }
        return cls(path, **urls.parse_options(parts.query, known))

    @property
    def location(self) -> str:
        return f"the files in {str(Path(self._root).resolve())!r}"

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        name = f"kvwrap {Path(self._root).name}"
        self._pid = os.getpid()
        if not self.creates:
            check_exists("the folder", self._root, "file-tree", store=self.name)
        # Reads do not wait while a write waits for the disk.
        self._writer = Worker(f"{name} writer", self._timeout)
        self._reader = Worker(name, self._timeout)
        try:
            await self._reader.run(self._entries.open, create=not self._read_only)
        except BaseException:
            await self.teardown()
            raise

    async def teardown(self) -> None:
        if os.getpid() == self._pid:
            await self._reader.close()
            await self._writer.close()

    # -- between the event loop and the threads ----------------------------------------

    async def _read(
        self, function: Callable[Concatenate[Call, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if not self.is_open:
            await self.ready()
        return await self._reader.run(function, *args, **kwargs)

    async def _write(
        self, function: Callable[Concatenate[Call, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if not self.is_open:
            await self.ready()
        if self._read_only:
            raise ReadOnlyViolation(
                f"the folder {self._root!r} must be writable for a change; the store is read-only: "
                "create it without read_only=True, in a process that may write to the folder",
                store=self.name,
            )
        return await self._writer.run(function, *args, **kwargs)

    async def _drop(self, files: Files, key_range: KeyRange | None = None) -> int:
        """Delete files, some with each hop to the thread, so that other calls get a turn."""
        count = 0
        while (some := await self._write(self._listing.drop_some, files, key_range)) is not None:
            count += some
        return count

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._read(self._entries.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._write(self._entries.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._write(self._entries.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._write(self._entries.touch, collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self._read(self._listing.list_keys, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self._read(self._listing.list_collections)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        files, count = self._listing.files(collection), 0
        while (some := await self._read(self._listing.count_some, files, key_range)) is not None:
            count += some
        return count

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._drop(self._listing.files(collection), key_range)

    async def drop(self, collection: Collection) -> bool:
        count = await self._drop(self._listing.files(collection))
        await self._write(self._listing.remove_empty, collection)
        return count > 0

    async def drop_all(self) -> bool:
        count = await self._drop(self._listing.all_files())
        await self._write(self._listing.remove_all_empty)
        return count > 0

    async def sweep(self) -> None:
        """Delete expired files, empty folders, and what killed processes have left behind."""
        files = self._listing.all_files()
        while await self._write(self._listing.sweep_some, files) is not None:
            pass
        await self._write(self._listing.remove_all_empty)
        await self._write(self._entries.clean)

    async def scrub(self) -> None:
        """Remove the unfinished files of killed processes, which have what these were writing.

        What was replaced or deleted stays on the disk until the system uses its place again.
        """
        await self._write(self._entries.clean)

    async def ping(self) -> None:
        await self._read(self._entries.open, create=False)


def _checked_folder(folder: object) -> str:
    """Return the path of a folder as an absolute one."""
    text = path_text(folder)
    if text is None:
        raise ConfigurationError(f"`folder` must be the path of a folder; got {folder!r}")
    # A relative path is that of the folder in which the store was created, whatever folder the
    # process is in when a file is opened.
    return str(Path(text).absolute())
