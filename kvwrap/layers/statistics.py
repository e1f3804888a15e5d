"""Counts and latencies of everything that passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from math import log10
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected, Page, Span
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.metrics.histogram import PER_DECADE, Latency

T = TypeVar("T")

OTHER = "(other)"
"""What the collections beyond `Statistics.max_collections` are counted under, together."""


class Counts(msgspec.Struct, frozen=True):
    """What happened, and how long it took.

    Attributes:
        calls: Calls, batches as one, those that failed included.
        keys: Keys that they were about, or gave; of the calls that did not fail.
        hits: Keys read that had an entry.
        misses: Keys read that had none.
        changed: Keys that were written, removed or given another end.
        bytes_read: Bytes of the entries that were read, as they pass here.
        bytes_written: Bytes of those that were written.
        errors: How many calls failed, by the name of the exception's class.
        latency: How long the calls took.
    """

    calls: int = 0
    keys: int = 0
    hits: int = 0
    misses: int = 0
    changed: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    errors: Mapping[str, int] = MappingProxyType({})
    latency: Latency = Latency()

    @property
    def hit_rate(self) -> float:
        """The share of the keys read that had an entry; 0 where none was read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(self.errors.values())

    @classmethod
    def merged(cls, parts: Iterable[Counts]) -> Counts:
        """Several taken together."""
        parts = list(parts)
        errors: defaultdict[str, int] = defaultdict(int)
        for part in parts:
            for name, count in part.errors.items():
                errors[name] += count
        sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMMED}
        latency = Latency.merged(part.latency for part in parts)
        return cls(**sums, errors=MappingProxyType(dict(errors)), latency=latency)


_SUMMED = ("calls", "keys", "hits", "misses", "changed", "bytes_read", "bytes_written")


class Row(msgspec.Struct, frozen=True):
    """The counts of one operation in one collection.

    Attributes:
        collection: Its name, `None` for the default one, `OTHER` for those beyond the bound.
        operation: The primitive: read, write, remove, touch, list_keys, …
        counts: What happened.
    """

    collection: Collection
    operation: str
    counts: Counts


class Snapshot(msgspec.Struct, frozen=True):
    """What `Statistics` had counted at one moment; never changes.

    Attributes:
        name: The layer's name.
        seconds: How long it had been counting.
        rows: The counts, one row for each operation and collection that occurred.
    """

    name: str
    seconds: float
    rows: tuple[Row, ...]

    def of(self, *operations: str) -> Counts:
        """The counts of these operations in all collections together."""
        return Counts.merged(row.counts for row in self.rows if row.operation in operations)

    def of_collection(self, collection: Collection, *operations: str) -> Counts:
        """The counts of one collection; of these operations, or of all where none is named."""
        return Counts.merged(
            row.counts
            for row in self.rows
            if row.collection == collection and (not operations or row.operation in operations)
        )

    @property
    def total(self) -> Counts:
        """Everything together."""
        return Counts.merged(row.counts for row in self.rows)

    @property
    def reads(self) -> Counts:
        """What `get`, `get_many`, `ttl`, `exists` and all other reading came to."""
        return self.of("read")

    @property
    def writes(self) -> Counts:
        """What `put` and all other writing came to."""
        return self.of("write")

    @property
    def removes(self) -> Counts:
        """What `delete`, `delete_many` and `pop` came to."""
        return self.of("remove")

    @property
    def collections(self) -> tuple[Collection, ...]:
        """The collections that occurred, in the order of their first call."""
        return tuple(dict.fromkeys(row.collection for row in self.rows))


class _Cell:
    """The running counts of one operation in one collection."""

    __slots__ = ("buckets", "bytes", "errors", "hits", "keys", "seconds")

    def __init__(self) -> None:
        self.buckets: defaultdict[int, int] = defaultdict(int)
        self.seconds = 0.0
        self.keys = 0
        self.hits = 0
        self.bytes = 0
        self.errors: dict[str, int] = {}

    def took(self, seconds: float) -> None:
        self.seconds += seconds
        # `histogram.bucket`, written out here and in `Statistics.read` for speed.
        self.buckets[int(log10(seconds * 1e9 + 1.0) * PER_DECADE)] += 1

    def counts(self, operation: str) -> Counts:
        # `dict` copies at one go, so that a thread that scrapes does not meet a change half-way.
        latency = Latency(self.seconds, tuple(sorted(dict(self.buckets).items())))
        reads = operation == "read"
        return Counts(
            calls=latency.calls,
            keys=self.keys,
            hits=self.hits if reads else 0,
            misses=self.keys - self.hits if reads else 0,
            changed=0 if reads else self.hits,
            bytes_read=self.bytes if reads else 0,
            bytes_written=0 if reads else self.bytes,
            errors=MappingProxyType(dict(self.errors)),
            latency=latency,
        )


class Statistics(Layer):
    """Counts calls, keys, hits, misses, bytes, errors and latencies, and changes nothing.

    Read with `store.find(Statistics).snapshot()`, or through `kvwrap.metrics.prometheus` and
    `kvwrap.metrics.opentelemetry`. Counts are kept per primitive operation and collection;
    latencies in a histogram whose percentiles are within 3.9 % (`kvwrap.metrics.histogram`).

    Args:
        name: What exporters call this store: two layers of one name are summed there.
        max_collections: How many collections are counted each for itself; those that come
            later go into one row, `OTHER`, so that callers who make up names cost no memory.
    """

    traits = frozenset({"observes"})

    def __init__(self, name: str = "kvwrap", *, max_collections: int = 100) -> None:
        if not name or not isinstance(name, str):
            raise ConfigurationError(f"a name is a string of at least a character, not {name!r}")
        if type(max_collections) is not int or max_collections < 1:
            raise ConfigurationError(
                f"max_collections is a whole number above 0, not {max_collections!r}"
            )
        self.label = name
        self.max_collections = max_collections

    def bound(self) -> None:
        self._now = self.clock.monotonic
        self._read = self.inner.read
        self._write = self.inner.write
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self._reads: dict[Collection, _Cell] = {}
        self._writes: dict[Collection, _Cell] = {}
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

    def _cell(self, operation: str, collection: Collection) -> _Cell:
        cells = self._cells.setdefault(operation, {})
        cell = cells.get(collection)
        if cell is None:
            if collection not in self._names:
                if len(self._names) >= self.max_collections:
                    collection = OTHER
                self._names.add(collection)
            cell = cells.setdefault(collection, _Cell())
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
        self, operation: str, collection: Collection, call: Coroutine[Any, Any, T]
    ) -> T:
        began = self._now()
        try:
            result = await call
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
        return self._counted("remove", collection, self.inner.remove(collection, keys, expected))

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._counted("touch", collection, self.inner.touch(collection, keys, expires))

    def list_keys(
        self, collection: Collection, span: Span, cursor: object
    ) -> Coroutine[Any, Any, Page]:
        return self._counted(
            "list_keys", collection, self.inner.list_keys(collection, span, cursor)
        )

    def list_collections(self) -> Coroutine[Any, Any, list[Collection]]:
        return self._counted("list_collections", None, self.inner.list_collections())

    def drop(self, collection: Collection) -> Coroutine[Any, Any, bool]:
        return self._counted("drop", collection, self.inner.drop(collection))

    def drop_all(self) -> Coroutine[Any, Any, bool]:
        return self._counted("drop_all", None, self.inner.drop_all())

    def sweep(self) -> Coroutine[Any, Any, None]:
        return self._counted("sweep", None, self.inner.sweep())

    def ping(self) -> Coroutine[Any, Any, None]:
        return self._counted("ping", None, self.inner.ping())
