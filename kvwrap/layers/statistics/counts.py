"""What calls came to: counts, and a snapshot of them that never changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from kvwrap.core.primitives import Collection
from kvwrap.layers.statistics.histogram import Latency

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
