"""Latencies counted in buckets of even ratio, from which percentiles come within a known error.

The buckets are those of DDSketch (Masson, Rim and Lee, 2019): each is wider than the one
before by the same factor, so a percentile is off by at most a fixed share of itself, over
any range and in little memory. Thirty to the decade put 1, 2 and 5 (to 0.3 %) on borders.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log10

import msgspec

PER_DECADE = 30
"""Buckets to a factor of ten: each is 8 % wider than the one before."""

ERROR = (10 ** (1 / PER_DECADE) - 1) / (10 ** (1 / PER_DECADE) + 1)
"""The most that a percentile is off, as a share of it: 3.9 %. (Under 30 ns, 1 ns is more.)"""


def bucket(seconds: float) -> int:
    """The number of the bucket that a latency falls in; 0 is the first nanosecond."""
    return int(log10(seconds * 1e9 + 1.0) * PER_DECADE)


def bound(number: int) -> float:
    """Where a bucket ends and the next begins, in seconds."""
    return float(10 ** ((number + 1) / PER_DECADE) - 1) / 1e9


class Latency(msgspec.Struct, frozen=True):
    """How long calls took.

    Attributes:
        seconds: The time of all of them together.
        buckets: How many fell into each bucket: pairs of its number and the count, in order.
    """

    seconds: float = 0.0
    buckets: tuple[tuple[int, int], ...] = ()

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(count for _, count in self.buckets)

    @property
    def mean(self) -> float:
        """Seconds per call, exact; 0 where there were none."""
        return self.seconds / self.calls if self.buckets else 0.0

    def percentile(self, share: float) -> float:
        """The seconds that this share of the calls (0.95, say) did not exceed.

        At most `ERROR` of it too low or too high; 0 where there were no calls.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {share!r}")
        rank = share * (self.calls - 1)
        passed = 0
        for number, count in self.buckets:
            passed += count
            if passed > rank:
                low, high = bound(number - 1), bound(number)
                return 2 * low * high / (low + high)
        return 0.0

    def at_most(self, seconds: float) -> int:
        """How many calls took no longer, to the bucket whose border is nearest."""
        last = round(log10(seconds * 1e9 + 1.0) * PER_DECADE) - 1
        return sum(count for number, count in self.buckets if number <= last)

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float:
        """What 19 calls of 20 did not exceed, in seconds."""
        return self.percentile(0.95)

    @property
    def p99(self) -> float:
        """What 99 calls of 100 did not exceed, in seconds."""
        return self.percentile(0.99)

    @classmethod
    def merged(cls, parts: Iterable[Latency]) -> Latency:
        """Several taken together; loses nothing."""
        seconds = 0.0
        counts: dict[int, int] = {}
        for part in parts:
            seconds += part.seconds
            for number, count in part.buckets:
                counts[number] = counts.get(number, 0) + count
        return cls(seconds, tuple(sorted(counts.items())))
