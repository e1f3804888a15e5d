"""Counts of what a read-through cache has done."""

from __future__ import annotations

import msgspec


class TierCounts(msgspec.Struct):
    """Counts since the layer was put over its store. Keys are counted, unless it says calls.

    Attributes:
        near_hits: Keys read from the near store.
        negative_hits: Keys that the near store knew to be absent.
        stale_served: Keys served after their near ttl, because the far store was unavailable.
        misses: Keys whose readers waited for the far store.
        joined: Of the misses, those answered by another caller's read of the far store.
        far_reads: Read calls of the far store.
        far_keys: Keys requested in these calls, those of refreshes included.
        fills: Copies and remembered misses put into the near store.
        refused_fills: Results not put there, because a change of the key had come between.
        refreshes: Keys whose refresh was started before their copy ended.
        near_failures: Calls of the near store that failed.
    """

    near_hits: int = 0
    negative_hits: int = 0
    stale_served: int = 0
    misses: int = 0
    joined: int = 0
    far_reads: int = 0
    far_keys: int = 0
    fills: int = 0
    refused_fills: int = 0
    refreshes: int = 0
    near_failures: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of key reads that did not wait for the far store; 0 if there were no reads."""
        hits = self.near_hits + self.negative_hits + self.stale_served
        return hits / (hits + self.misses) if hits + self.misses else 0.0
