"""Counts of calls, and an immutable snapshot of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

import msgspec

from kvwrap.core.figures import Measured, counter, histogram
from kvwrap.core.primitives import Collection
from kvwrap.layers.statistics.histogram import Latency

OTHER = "(other)"
"""Name of the row that counts all collections beyond `Statistics.max_collections`."""


class Counts(msgspec.Struct, frozen=True):
    """Numbers of calls and keys, and latencies.

    Attributes:
        calls: Number of calls, those that failed included. A batch is one call.
        keys: Number of keys that were passed or returned, in the calls that did not fail.
        hits: Number of keys read that had an entry.
        misses: Number of keys read that had no entry.
        changed: Number of keys that were written, removed or given a new expiry.
        bytes_read: Bytes of the entries read, as they pass this layer.
        bytes_written: Bytes of the entries written, as they pass this layer.
        errors: Number of calls that failed, by the name of the exception's class.
        latency: Latencies of the calls.
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
        """Share of the keys read that had an entry; 0 if no key was read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    @property
    def failed(self) -> int:
        """Number of calls that failed."""
        return sum(self.errors.values())

    @classmethod
    def merged(cls, parts: Iterable[Counts]) -> Counts:
        """Return the sum of several counts."""
        parts = list(parts)
        errors: defaultdict[str, int] = defaultdict(int)
        for part in parts:
            for name, count in part.errors.items():
                errors[name] += count
        sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMMED}
        latency = Latency.merged(part.latency for part in parts)
        return cls(**sums, errors=MappingProxyType(dict(errors)), latency=latency)


_LABELS = ("collection", "operation")
_READING = frozenset({"read", "list_keys", "list_collections", "count_range", "ping"})
_SUMMED = ("calls", "keys", "hits", "misses", "changed", "bytes_read", "bytes_written")


class Row(Measured, msgspec.Struct, frozen=True):
    """The counts of one operation in one collection.

    Attributes:
        collection: Its name; `None` for the default one, `OTHER` for all beyond the limit.
        operation: The primitive: read, write, remove, touch, list_keys, …
        counts: The counts.
    """

    figures: ClassVar = (
        counter("operations", "{call}", "Calls; a batch is one.", *_LABELS, path="counts.calls"),
        counter(
            "keys", "{key}", "Keys that calls concerned, or returned.", *_LABELS, path="counts.keys"
        ),
        counter("hits", "{key}", "Keys read that had an entry.", *_LABELS),
        counter("misses", "{key}", "Keys read that had no entry.", *_LABELS),
        counter("changes", "{key}", "Keys changed.", *_LABELS),
        counter("read", "By", "Bytes of entries read.", *_LABELS),
        counter("written", "By", "Bytes of entries written.", *_LABELS),
        counter(
            "errors",
            "{call}",
            "Failed calls, by error class.",
            *_LABELS,
            "error",
            path="counts.errors",
        ),
        histogram("operation.duration", "Duration of calls.", *_LABELS, path="counts.latency"),
    )
    collection: Collection
    operation: str
    counts: Counts

    @property
    def label_values(self) -> tuple[str, ...]:
        return (self.collection or "", self.operation)

    @property
    def hits(self) -> int | None:
        """Keys read that had an entry; `None` if the operation does not read."""
        return self.counts.hits if self.operation == "read" else None

    @property
    def misses(self) -> int | None:
        """Keys read that had no entry; `None` if the operation does not read."""
        return self.counts.misses if self.operation == "read" else None

    @property
    def changes(self) -> int | None:
        """Keys changed; `None` if the operation reads."""
        return None if self.operation in _READING else self.counts.changed

    @property
    def read(self) -> int | None:
        """Bytes read; `None` if the operation does not read."""
        return self.counts.bytes_read if self.operation == "read" else None

    @property
    def written(self) -> int | None:
        """Bytes written; `None` if the operation does not write."""
        return self.counts.bytes_written if self.operation == "write" else None


class Snapshot(msgspec.Struct, frozen=True):
    """What `Statistics` had counted at one time; immutable.

    Attributes:
        name: The layer's name.
        seconds: Seconds for which it had been counting.
        rows: The counts, one row for each operation and collection that occurred.
    """

    name: str
    seconds: float
    rows: tuple[Row, ...]

    def of(self, *operations: str) -> Counts:
        """Return the counts of these operations, summed over all collections."""
        return Counts.merged(row.counts for row in self.rows if row.operation in operations)

    def of_collection(self, collection: Collection, *operations: str) -> Counts:
        """Return the counts of one collection: of these operations, or of all if none is given."""
        return Counts.merged(
            row.counts
            for row in self.rows
            if row.collection == collection and (not operations or row.operation in operations)
        )

    @property
    def total(self) -> Counts:
        """Counts of all operations in all collections."""
        return Counts.merged(row.counts for row in self.rows)

    @property
    def reads(self) -> Counts:
        """Counts of `get`, `get_many`, `ttl`, `exists` and all other reads."""
        return self.of("read")

    @property
    def writes(self) -> Counts:
        """Counts of `put` and all other writes."""
        return self.of("write")

    @property
    def removes(self) -> Counts:
        """Counts of `delete`, `delete_many` and `pop`."""
        return self.of("remove")

    @property
    def collections(self) -> tuple[Collection, ...]:
        """The collections that occurred, in the order of the rows."""
        return tuple(dict.fromkeys(row.collection for row in self.rows))
