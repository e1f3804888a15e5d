"""Counts and latencies of everything that passes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from math import log10
from typing import Any, ParamSpec, TypeVar

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Page,
    Store,
    checked_count,
)
from kvwrap.layers.statistics.cell import Cell
from kvwrap.layers.statistics.counts import OTHER, Row, Snapshot
from kvwrap.layers.statistics.histogram import PER_DECADE

T = TypeVar("T")
P = ParamSpec("P")


class Statistics(Layer):
    """Counts calls, keys, hits, misses, bytes, errors and latencies, and changes nothing.

    Read with `store.find(Statistics).snapshot()`, or through `kvwrap.integrations.prometheus` and
    `kvwrap.integrations.opentelemetry`. Counts are kept per primitive operation and collection;
    latencies in a histogram whose percentiles are within 3.9 %.

    Args:
        name: What exporters call this store: two layers of one name are summed there.
        max_collections: How many collections are counted each for itself; those that come
            later share one row, named `OTHER` in `counts`, so that callers who make up names
            cost no memory.
    """

    traits = frozenset({"observes"})
    finding_codes = frozenset({"statistics-inside-cache"})

    def __init__(self, name: str = "kvwrap", *, max_collections: int = 100) -> None:
        if not name or not isinstance(name, str):
            raise ConfigurationError(f"a name is a string of at least a character, not {name!r}")
        self.label = name
        self.max_collections = checked_count(max_collections, "max_collections")

    def on_bind(self) -> None:
        self._now = self.clock.monotonic
        self._read = self.inner.read
        self._write = self.inner.write
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self._reads: dict[Collection, Cell] = {}
        self._writes: dict[Collection, Cell] = {}
        self._cells = {"read": self._reads, "write": self._writes}
        self._names: set[Collection] = set()
        self._since = self._now()

    def snapshot(self) -> Snapshot:
        """What has been counted so far; may be called from any thread."""
        return Snapshot(
            self.label,
            self._now() - self._since,
            tuple(
                Row(collection, operation, cell.counts(operation))
                for operation, cells in dict(self._cells).items()
                for collection, cell in dict(cells).items()
            ),
        )

    def _cell(self, operation: str, collection: Collection) -> Cell:
        cells = self._cells.setdefault(operation, {})
        cell = cells.get(collection)
        if cell is None:
            if collection not in self._names:
                if len(self._names) >= self.max_collections:
                    collection = OTHER
                self._names.add(collection)
            cell = cells.setdefault(collection, Cell())
        return cell

    def _failed(
        self, operation: str, collection: Collection, began: float, error: BaseException
    ) -> None:
        cell = self._cell(operation, collection)
        name = type(error).__name__
        cell.errors[name] = cell.errors.get(name, 0) + 1
        cell.took(self._now() - began)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        cached = [place for place, layer in enumerate(above) if "caches" in layer.traits]
        if cached and not any(isinstance(layer, Statistics) for layer in above[: cached[0] + 1]):
            yield Finding(
                "statistics-inside-cache",
                "Statistics stands inside a cache, so that it sees only what the cache does not "
                "have: its hit rate is not that of your readers.",
                "Put .statistics() before the cache, or one on each side.",
            )

    # -- the primitives; reading and writing by hand, since they are all the traffic -----

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        now = self._now
        began = now()
        try:
            entries = await self._read(collection, keys)
        except BaseException as error:
            self._failed("read", collection, began, error)
            raise
        cell = self._reads.get(collection) or self._cell("read", collection)
        for entry in entries:
            if entry is not None:
                cell.hits += 1
                cell.bytes += len(entry.body)
        cell.keys += len(entries)
        seconds = now() - began
        cell.seconds += seconds
        cell.buckets[int(log10(seconds * 1e9 + 1.0) * PER_DECADE)] += 1
        return entries

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        began = self._now()
        try:
            written = await self._write(collection, keys, entries, expected)
        except BaseException as error:
            self._failed("write", collection, began, error)
            raise
        cell = self._writes.get(collection) or self._cell("write", collection)
        for entry, was in zip(entries, written):
            if was:
                cell.hits += 1
                cell.bytes += len(entry.body)
        cell.keys += len(written)
        cell.took(self._now() - began)
        return written

    async def _counted(
        self,
        operation: str,
        collection: Collection,
        forward: Callable[P, Coroutine[Any, Any, T]],
        *arguments: P.args,
        **_: P.kwargs,
    ) -> T:
        # Called in here, since a call that is cancelled before it begins must not leave the
        # inner one behind, begun by nobody.
        began = self._now()
        try:
            result = await forward(*arguments, **_)
        except BaseException as error:
            self._failed(operation, collection, began, error)
            raise
        cell = self._cell(operation, collection)
        if isinstance(result, list) and operation != "list_collections":
            cell.keys += len(result)
            cell.hits += sum(result)
        elif isinstance(result, Page):
            cell.keys += len(result.keys)
        cell.took(self._now() - began)
        return result

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._counted("remove", collection, self.inner.remove, collection, keys, expected)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._counted("touch", collection, self.inner.touch, collection, keys, expires)

    def list_keys(
        self, collection: Collection, key_range: KeyRange, cursor: object
    ) -> Coroutine[Any, Any, Page]:
        return self._counted(
            "list_keys", collection, self.inner.list_keys, collection, key_range, cursor
        )

    def list_collections(self) -> Coroutine[Any, Any, list[Collection]]:
        return self._counted("list_collections", None, self.inner.list_collections)

    def drop(self, collection: Collection) -> Coroutine[Any, Any, bool]:
        return self._counted("drop", collection, self.inner.drop, collection)

    def drop_all(self) -> Coroutine[Any, Any, bool]:
        return self._counted("drop_all", None, self.inner.drop_all)

    def sweep(self) -> Coroutine[Any, Any, None]:
        return self._counted("sweep", None, self.inner.sweep)

    def ping(self) -> Coroutine[Any, Any, None]:
        return self._counted("ping", None, self.inner.ping)
