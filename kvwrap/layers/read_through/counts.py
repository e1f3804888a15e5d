"""What a tier has done."""

from __future__ import annotations

import msgspec


class TierCounts(msgspec.Struct):
    """Counts since the layer was put over its store; by key, unless it says otherwise.

    Attributes:
        near_hits: Read from the near store.
        negative_hits: Known from the near store not to be there.
        stale_served: Served past their near lifetime, the far store being unavailable.
        misses: Waited for the far store.
        joined: Of the misses, those that another caller's read of the far store answered.
        far_reads: Calls of the far store.
        far_keys: Keys asked of it, renewals ahead included.
        fills: Copies and remembered misses put into the near store.
        refused_fills: Not put there, since a write had come between.
        refreshes: Renewals begun ahead of the end of a copy.
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
        """The share of reads that did not wait for the far store; 0 where there were none."""
        hits = self.near_hits + self.negative_hits + self.stale_served
        return hits / (hits + self.misses) if hits + self.misses else 0.0
