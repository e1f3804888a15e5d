"""Counts while they are still running."""

from __future__ import annotations

from collections import defaultdict
from math import log10
from types import MappingProxyType

from kvwrap.layers.statistics.counts import Counts
from kvwrap.layers.statistics.histogram import PER_DECADE, Latency


class Cell:
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
        """Count a call of this length."""
        self.seconds += seconds
        # `histogram.bucket`, written out here and in `Statistics.read` for speed.
        self.buckets[int(log10(seconds * 1e9 + 1.0) * PER_DECADE)] += 1

    def counts(self, operation: str) -> Counts:
        """The counts as they are now, those of this operation."""
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
