"""Counts of what a read-through cache has done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kvwrap.core.figures import Figure, Measured, counter


@dataclass(slots=True)  # whose attributes are set in half of the time that those of a Struct take
class TierCounts(Measured):
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
        refreshes: Keys refreshed before their copy ended.
        near_failures: Calls of the near store that failed.
        invalidated: Keys whose copies were ended by a change through this layer, or by
            `invalidate`, also if they had none; a whole collection counts as one.
        told: Keys whose copies were ended by a change of others that the backend told, also if
            the near store had evicted them already.
        lost: Times that all copies ended, since changes of others may have been missed.
    """

    figures: ClassVar[tuple[Figure, ...]] = (
        counter("near.hits", "{key}", "Keys read from the near store.", path="near_hits"),
        counter("near.negative_hits", "{key}", "Keys that the near store knew to be absent."),
        counter(
            "near.stale",
            "{key}",
            "Keys served after their near ttl, in an outage.",
            path="stale_served",
        ),
        counter("near.misses", "{key}", "Keys whose readers waited for the far store."),
        counter("near.joined", "{key}", "Misses answered by another caller's read."),
        counter("near.fills", "{key}", "Copies and remembered misses put into the near store."),
        counter("near.refused_fills", "{key}", "Results not kept: their key was changed."),
        counter("near.refreshes", "{key}", "Keys refreshed before their copy ended."),
        counter("near.failures", "{call}", "Failed calls of the near store.", path="near_failures"),
        counter("near.invalidations", "{key}", "Keys whose copies changes ended, if any.", "cause"),
        counter("far.reads", "{call}", "Read calls of the far store.", path="far_reads"),
        counter("far.keys", "{key}", "Keys requested in these calls.", path="far_keys"),
    )
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
    invalidated: int = 0
    told: int = 0
    lost: int = 0

    @property
    def invalidations(self) -> dict[str, int]:
        """Keys whose copies changes ended, also those without one, by cause.

        A whole collection counts as one, and so does a loss of all copies.
        """
        return {"own": self.invalidated, "told": self.told, "lost": self.lost}

    @property
    def hit_rate(self) -> float:
        """Share of key reads that did not wait for the far store; 0 if there were no reads."""
        hits = self.near_hits + self.negative_hits + self.stale_served
        return hits / (hits + self.misses) if hits + self.misses else 0.0
