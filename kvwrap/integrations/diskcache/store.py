"""A store that reads the folder of a diskcache."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign, live
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import Collection, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.threads import SingleThread
from kvwrap.core.validation import checked_count, checked_flag
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.integrations.diskcache.folder import Folder
from kvwrap.stores.shared.only_read import OnlyRead

_LARGEST: Final = 32 * 2**20


class DiskcacheFolder(OnlyRead):
    """Reads the folder of a `Cache`, `FanoutCache` or `Index` of diskcache: a source for `copy`.

    Its values are those that diskcache stores without a pickle: text, bytes, and numbers, or with
    `json` what its `JSONDisk` stores. Its keys are those that are text. Each entry has the
    expiry that it has in the folder. Everything else is left: nothing is ever unpickled, so that
    also a folder from elsewhere can be read. `count_unreadable` returns how many values that
    are, and the report of `kvwrap.copy` has their number.

    The folder is not changed, and other programs may use it. The keys are those that it had when
    this was opened. All of them are in the default collection. Writes raise `ReadOnlyViolation`.

    Args:
        folder: The folder.
        json: True if the cache has `disk=JSONDisk`.
        max_size: Maximum number of bytes of a value, decompressed. A larger one raises
            `ValueTooLarge`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        ConfigurationError: From `open` or the first method: it is no folder of diskcache.
        StoreUnavailable: From any method, if the folder cannot be read.
        CorruptEntry: When reading a value that is damaged, is not JSON, or is in a file outside of
            the folder.
    """

    refusal = (
        "a folder of diskcache is only read: copy its entries to another store with "
        "kvwrap.copy, or use kvwrap.adapt(diskcache.Cache(...))"
    )
    capabilities = frozenset(
        {
            Capability.KEYS,
            Capability.RANGE,
            Capability.COLLECTIONS,
            Capability.PERSISTENT,
            Capability.SHARED,
        }
    )

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        json: bool = False,
        max_size: int = _LARGEST,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer)
        if not isinstance(folder, str | os.PathLike):
            raise ConfigurationError(
                f"`folder` must be the path of a folder; got {type(folder).__name__}"
            )
        self._path = Path(os.fspath(folder)).absolute()
        self._shown = os.fspath(folder)
        self._json = checked_flag(json, "json")
        self._max_size = checked_count(max_size, "max_size")
        self._folder: Folder | None = None
        self._thread: SingleThread | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r}{', json=True' if self._json else ''})"

    @property
    def location(self) -> str:
        return f"diskcache:{self._path}"

    async def setup(self) -> None:
        self._thread = SingleThread("kvwrap-diskcache")
        folder = Folder(self._path, json=self._json, max_size=self._max_size)
        try:
            await self._run(folder.open, self.clock.time())
        except BaseException:
            self._end(folder)
            raise
        self._folder = folder

    async def teardown(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            self._end(folder)

    def _end(self, folder: Folder) -> None:
        """Close the folder and end the thread, after the calls that run or wait."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(folder.close)
            thread.shutdown(wait=False)

    async def _opened(self) -> Folder:
        if not self.is_open:
            await self.ready()
        assert self._folder is not None
        return self._folder

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the thread. A call that is cancelled before its turn never runs."""
        assert self._thread is not None
        try:
            return await asyncio.wrap_future(self._thread.submit(function, *arguments))
        except KvwrapError as error:
            error.store = self.name
            raise

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        folder = await self._opened()
        if collection is not None:
            return [None] * len(keys)
        now = self.clock.time()
        return [
            None
            if found is None
            else live(foreign(found.body, None, key, now, found.expires_at, found.codec), now)
            for key, found in zip(keys, await self._run(folder.read, keys))
        ]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        folder = await self._opened()
        if cursor is None:
            keys = folder.keys(self.clock.time()) if collection is None else []
            cursor = Snapshot(sorted(key for key in keys if key in key_range))
        return Snapshot.page(cursor)

    async def list_collections(self) -> list[Collection]:
        folder = await self._opened()
        return [None] if folder.keys(self.clock.time()) else []

    async def count_unreadable(self) -> int:
        return (await self._opened()).unreadable
