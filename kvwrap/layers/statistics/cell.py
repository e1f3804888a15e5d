"""The running counts of one operation in one collection."""

from __future__ import annotations

from bisect import bisect
from types import MappingProxyType

from kvwrap.layers.statistics.counts import OTHER, Counts
from kvwrap.layers.statistics.histogram import Latency, bucket_index, upper_bound

RECENT = 512
"""Number of latencies after which they are sorted into buckets together.

That costs a fifth of what it would cost to find the bucket of each when it is measured.
"""


MOST_ERRORS = 50
"""Number of classes of errors that are counted individually; all later ones share a name."""


class Cell:
    """Running counts, which are changed with every call.

    Attributes:
        latencies: Those of all calls, in seconds: the total of the earlier ones, their number in
            each bucket by its index, and the recent ones. Replaced as a whole, so that another
            thread sees every call once.
        hits: For reads, keys that had an entry which is not stale; for other operations, keys
            changed.
        others: The other keys of the calls that did not fail.
        bytes: Bytes of the entries read or written.
        errors: Number of failed calls, by the name of the exception's class.
    """

    __slots__ = ("bytes", "errors", "hits", "latencies", "others")

    def __init__(self) -> None:
        self.latencies: tuple[float, dict[int, int], list[float]] = (0.0, {}, [])
        self.hits = 0
        self.others = 0
        self.bytes = 0
        self.errors: dict[str, int] = {}

    def add_call(self, seconds: float) -> None:
        """Count a call that took this long."""
        # Written out in `Statistics.read` and `write` for speed.
        recent = self.latencies[2]
        recent.append(seconds)
        if len(recent) >= RECENT:
            self.sort_recent()

    def add_failure(self, error: str, seconds: float) -> None:
        """Count a call that failed with an error of this class, and took this long."""
        errors = self.errors
        if error not in errors and len(errors) >= MOST_ERRORS:
            error = OTHER
        errors[error] = errors.get(error, 0) + 1
        self.add_call(seconds)

    def sort_recent(self) -> None:
        """Sort the recent latencies into buckets."""
        self.latencies = (*_sorted(*self.latencies), [])

    def counts(self, operation: str) -> Counts:
        """Return the counts as they are now. May be called from any thread.

        Args:
            operation: The primitive that they are of.
        """
        total, buckets = _sorted(*self.latencies)
        latency = Latency(total, tuple(sorted(buckets.items())))
        reads = operation == "read"
        hits, others = self.hits, self.others
        return Counts(
            calls=latency.calls,
            keys=hits + others,
            hits=hits if reads else 0,
            misses=others if reads else 0,
            changed=0 if reads else hits,
            bytes_read=self.bytes if reads else 0,
            bytes_written=0 if reads else self.bytes,
            errors=MappingProxyType(dict(self.errors)),
            latency=latency,
        )


def _sorted(
    total: float, buckets: dict[int, int], recent: list[float]
) -> tuple[float, dict[int, int]]:
    """Return total and buckets with the recent latencies included; changes no argument."""
    latencies = sorted(recent)
    merged = dict(buckets)
    position = 0
    while position < len(latencies):
        index = bucket_index(latencies[position])
        # At least one, whatever the rounding of the border says.
        end = max(position + 1, bisect(latencies, upper_bound(index), position))
        merged[index] = merged.get(index, 0) + end - position
        position = end
    return total + sum(latencies), merged
