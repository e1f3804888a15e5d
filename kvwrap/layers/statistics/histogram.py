"""Latency histogram with exponential buckets, whose percentiles have a bounded relative error.

The buckets are those of DDSketch (Masson, Rim and Lee, 2019): each is wider than the one
before by the same factor. So a percentile is off by at most a fixed share of itself, over any
range and in little memory. With thirty buckets per decade, 1, 2 and 5 are bucket borders (to
0.3 %).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log10

import msgspec

PER_DECADE = 30
"""Buckets per factor of ten: each is 8 % wider than the one before."""

ERROR = (10 ** (1 / PER_DECADE) - 1) / (10 ** (1 / PER_DECADE) + 1)
"""Largest relative error of a percentile: 3.9 %. (Below 30 ns, 1 ns is more than that.)"""


def bucket_index(seconds: float) -> int:
    """Return the index of the bucket that a latency falls in; the first nanosecond is in 0."""
    return int(log10(seconds * 1e9 + 1.0) * PER_DECADE)


def upper_bound(index: int) -> float:
    """Return where a bucket ends and the next one begins, in seconds."""
    return float(10 ** ((index + 1) / PER_DECADE) - 1) / 1e9


class Latency(msgspec.Struct, frozen=True):
    """Latencies of calls.

    Attributes:
        seconds: Total of all calls, in seconds.
        buckets: Pairs of a bucket's index and its number of calls, in order.
    """

    seconds: float = 0.0
    buckets: tuple[tuple[int, int], ...] = ()

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(count for _, count in self.buckets)

    @property
    def mean(self) -> float:
        """Mean latency in seconds, exact; 0 if there were no calls."""
        return self.seconds / self.calls if self.buckets else 0.0

    def percentile(self, share: float) -> float:
        """Return the latency in seconds that this share of the calls did not exceed.

        It is at most `ERROR` of itself too low or too high; 0 if there were no calls.

        Args:
            share: From 0 to 1, for example 0.95 for the 95th percentile.

        Raises:
            ValueError: `share` is not from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(
                f"`share` must be from 0 to 1; got {share!r}. Give 0.95 for the 95th percentile."
            )
        rank = share * (self.calls - 1)
        passed = 0
        for index, count in self.buckets:
            passed += count
            if passed > rank:
                low, high = upper_bound(index - 1), upper_bound(index)
                return 2 * low * high / (low + high)
        return 0.0

    def at_most(self, seconds: float) -> int:
        """Return the number of calls that took at most this long.

        Args:
            seconds: The limit; the nearest border between two buckets is used for it.
        """
        last = round(log10(seconds * 1e9 + 1.0) * PER_DECADE) - 1
        return sum(count for index, count in self.buckets if index <= last)

    @property
    def p50(self) -> float:
        """Median, in seconds."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float:
        """Latency that 95 % of the calls did not exceed, in seconds."""
        return self.percentile(0.95)

    @property
    def p99(self) -> float:
        """Latency that 99 % of the calls did not exceed, in seconds."""
        return self.percentile(0.99)

    def __add__(self, other: Latency) -> Latency:
        return Latency.merged((self, other))

    @classmethod
    def merged(cls, parts: Iterable[Latency]) -> Latency:
        """Return the sum of several latencies, without loss."""
        seconds = 0.0
        counts: dict[int, int] = {}
        for part in parts:
            seconds += part.seconds
            for index, count in part.buckets:
                counts[index] = counts.get(index, 0) + count
        return cls(seconds, tuple(sorted(counts.items())))
