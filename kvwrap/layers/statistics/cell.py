"""The running counts of one operation in one collection."""

from __future__ import annotations

from collections import defaultdict
from math import log10
from types import MappingProxyType

from kvwrap.layers.statistics.counts import Counts
from kvwrap.layers.statistics.histogram import PER_DECADE, Latency


class Cell:
    """Running counts, which are changed with every call.

    Attributes:
        buckets: Number of calls in each latency bucket, by the index of the bucket.
        seconds: Total latency of all calls, in seconds.
        keys: Keys of the calls that did not fail.
        hits: For reads, keys that had an entry; for other operations, keys changed.
        bytes: Bytes of the entries read or written.
        errors: Number of failed calls, by the name of the exception's class.
    """

    __slots__ = ("buckets", "bytes", "errors", "hits", "keys", "seconds")

    def __init__(self) -> None:
        self.buckets: defaultdict[int, int] = defaultdict(int)
        self.seconds = 0.0
        self.keys = 0
        self.hits = 0
        self.bytes = 0
        self.errors: dict[str, int] = {}

    def add_call(self, seconds: float) -> None:
        """Count a call that took this long."""
        self.seconds += seconds
        # `histogram.bucket_index`, written out here and in `Statistics.read` for speed.
        self.buckets[int(log10(seconds * 1e9 + 1.0) * PER_DECADE)] += 1

    def counts(self, operation: str) -> Counts:
        """Return the counts as they are now.

        Args:
            operation: The primitive that they are of.
        """
        # `dict` copies in one step, so a scrape in another thread sees no half-made change.
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
