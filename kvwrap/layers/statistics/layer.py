"""Counts and latencies of all operations that pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Page,
    Passage,
    Store,
    checked_count,
    checked_name,
    is_stale,
)
from kvwrap.layers.statistics.cell import RECENT, Cell
from kvwrap.layers.statistics.counts import OTHER, Row, Snapshot
from kvwrap.layers.statistics.described import Chain, describe
from kvwrap.layers.statistics.server import FigureServer, checked_socket

T = TypeVar("T")
P = ParamSpec("P")


class Statistics(Layer):
    """Counts calls, keys, hits, misses, bytes, errors and latencies, and changes nothing.

    Read them with `store.find(Statistics).snapshot()`, or export them with
    `kvwrap.integrations.prometheus` or `kvwrap.integrations.opentelemetry`. Counts are kept for
    each primitive operation and collection. Latencies are kept in a histogram whose percentiles
    are at most 3.9 % off. A stale value (`get_or_put(stale_ttl=...)`) counts as a miss.

    Args:
        name: Name of this store in exporters. They sum layers of the same name.
        max_collections: Number of collections that are counted individually. All later ones
            share one row, named `OTHER` in `counts`, so that callers who invent names cost no
            memory.
        socket: Path of a Unix socket that serves what this layer and all under it count, while
            the store is open (`async with`), to this user alone (mode 0600): `kvwrap top` shows
            it. `{pid}` in it stands for the process, so that each of several workers has its own.

    Raises:
        ConfigurationError: From `open`: another process serves at `socket`, or it cannot be made.
    """

    passage = Passage(read="is counted and timed")
    traits = frozenset({"observes"})
    finding_codes = frozenset({"statistics-inside-cache"})

    def __init__(
        self,
        name: str = "kvwrap",
        *,
        max_collections: int = 100,
        socket: str | os.PathLike[str] | None = None,
    ) -> None:
        self.label = checked_name(name, "name")
        self.max_collections = checked_count(max_collections, "max_collections")
        self.socket = checked_socket(socket)
        self._server: FigureServer | None = None

    def on_bind(self) -> None:
        self._now = self.clock.monotonic
        self._read = self.inner.read
        self._write = self.inner.write
        self.reset()

    async def setup(self) -> None:
        if self.socket is not None and self.serves:
            chain = Chain(self)
            server = FigureServer(
                self.socket, lambda: describe(chain, self._now() - self._started_at)
            )
            await server.start()
            self._server = server

    async def teardown(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def reset(self) -> None:
        """Set all counts to zero."""
        self._reads: dict[Collection, Cell] = {}
        self._writes: dict[Collection, Cell] = {}
        self._cells = {"read": self._reads, "write": self._writes}
        self._collections: set[Collection] = set()
        self._started_at = self._now()

    def snapshot(self) -> Snapshot:
        """Return what has been counted so far. May be called from any thread."""
        return Snapshot(
            self.label,
            self._now() - self._started_at,
            tuple(
                Row(collection, operation, cell.counts(operation))
                for operation, cells in dict(self._cells).items()
                for collection, cell in dict(cells).items()
            ),
        )

    @property
    def stack_name(self) -> str:
        """The name of this layer: exporters call the stack so."""
        return self.label

    def measured(self) -> Iterable[Row]:
        return self.snapshot().rows

    def _cell(self, operation: str, collection: Collection) -> Cell:
        cells = self._cells.setdefault(operation, {})
        cell = cells.get(collection)
        if cell is None:
            if collection not in self._collections:
                if len(self._collections) >= self.max_collections:
                    collection = OTHER
                self._collections.add(collection)
            cell = cells.setdefault(collection, Cell())
        return cell

    def _count_failure(
        self, operation: str, collection: Collection, started_at: float, error: BaseException
    ) -> None:
        cell = self._cell(operation, collection)
        cell.add_failure(type(error).__name__, self._now() - started_at)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        caches = [index for index, layer in enumerate(above) if "caches" in layer.traits]
        if caches and not any(isinstance(layer, Statistics) for layer in above[: caches[0] + 1]):
            yield Finding(
                "statistics-inside-cache",
                "Statistics is inside a cache, so it counts only what the cache does not have: its "
                "hit rate is not that of your readers.",
                "Put .statistics() before the cache, or one on each side.",
            )

    # -- primitives; `read` and `write` are written out for speed: they are most calls ----

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        now = self._now
        started_at = now()
        try:
            entries = await self._read(collection, keys)
        except BaseException as error:
            self._count_failure("read", collection, started_at, error)
            raise
        try:
            cell = self._reads[collection]
        except KeyError:
            cell = self._cell("read", collection)
        for entry in entries:
            if entry is None:
                cell.others += 1
                continue
            cell.bytes += len(entry.body)
            if len(entry.codec) > 1 and is_stale(entry, self.clock.time()):
                cell.others += 1
            else:
                cell.hits += 1
        recent = cell.latencies[2]
        recent.append(now() - started_at)
        if len(recent) >= RECENT:
            cell.sort_recent()
        return entries

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        now = self._now
        started_at = now()
        try:
            written = await self._write(collection, keys, entries, expected)
        except BaseException as error:
            self._count_failure("write", collection, started_at, error)
            raise
        cell = self._writes.get(collection) or self._cell("write", collection)
        for entry, is_written in zip(entries, written):
            if is_written:
                cell.hits += 1
                cell.bytes += len(entry.body)
            else:
                cell.others += 1
        recent = cell.latencies[2]
        recent.append(now() - started_at)
        if len(recent) >= RECENT:
            cell.sort_recent()
        return written

    async def _count_call(
        self,
        operation: str,
        collection: Collection,
        forward: Callable[P, Coroutine[Any, Any, T]],
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> T:
        # The coroutine of `forward` is made in here. Made earlier, it would never be awaited if
        # this call were cancelled before its first step.
        started_at = self._now()
        try:
            result = await forward(*arguments, **keywords)
        except BaseException as error:
            self._count_failure(operation, collection, started_at, error)
            raise
        cell = self._cell(operation, collection)
        if isinstance(result, list) and operation != "list_collections":
            cell.hits += sum(result)
            cell.others += len(result) - sum(result)
        elif isinstance(result, Page):
            cell.others += len(result.keys)
        elif isinstance(result, int) and operation in ("count_range", "drop_range"):
            if operation == "drop_range":
                cell.hits += result
            else:
                cell.others += result
        cell.add_call(self._now() - started_at)
        return result

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._count_call("remove", collection, self.inner.remove, collection, keys, expected)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._count_call("touch", collection, self.inner.touch, collection, keys, expires)

    def list_keys(
        self, collection: Collection, key_range: KeyRange, cursor: object
    ) -> Coroutine[Any, Any, Page]:
        return self._count_call(
            "list_keys", collection, self.inner.list_keys, collection, key_range, cursor
        )

    def list_collections(self) -> Coroutine[Any, Any, list[Collection]]:
        return self._count_call("list_collections", None, self.inner.list_collections)

    def count_range(self, collection: Collection, key_range: KeyRange) -> Coroutine[Any, Any, int]:
        return self._count_call(
            "count_range", collection, self.inner.count_range, collection, key_range
        )

    def drop_range(self, collection: Collection, key_range: KeyRange) -> Coroutine[Any, Any, int]:
        return self._count_call(
            "drop_range", collection, self.inner.drop_range, collection, key_range
        )

    def drop(self, collection: Collection) -> Coroutine[Any, Any, bool]:
        return self._count_call("drop", collection, self.inner.drop, collection)

    def drop_all(self) -> Coroutine[Any, Any, bool]:
        return self._count_call("drop_all", None, self.inner.drop_all)

    def sweep(self) -> Coroutine[Any, Any, None]:
        return self._count_call("sweep", None, self.inner.sweep)

    def ping(self) -> Coroutine[Any, Any, None]:
        return self._count_call("ping", None, self.inner.ping)
