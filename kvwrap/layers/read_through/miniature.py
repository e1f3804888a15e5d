"""A near tier of another size, simulated for a sample of the keys."""

from __future__ import annotations

from math import ceil, inf
from typing import Final

from kvwrap.core.limits import Limits

ENTRIES: Final = 300
"""Entries of a simulated tier; fewer if the whole tier has fewer."""

_SPARE: Final = 3
"""How many times as many it may have, if bytes are limited and values become smaller."""


class Miniature:
    """A near tier of another size, with the sampled keys alone.

    Args:
        factor: Its size, compared with that of the tier there is.
        limits: The limits of that tier.
        entries: How many entries that one can have.

    Attributes:
        share: The share of the keys that are sampled.
        threshold: The number that the marks of sampled keys are below.
        simulation: What it would hold.
        misses: Reads of sampled keys that it would have missed.
        real_misses: Reads of sampled keys that the tier there is has missed.
        apart: Reads of which one of the two was a hit, and the other one a miss.
    """

    def __init__(self, factor: float, limits: Limits, entries: float) -> None:
        self.factor = factor
        self.share = min(1.0, ENTRIES / (entries * factor))
        self.threshold = ceil(self.share * 2**32)
        scale = factor * self.share
        if limits.max_bytes is None:
            self.simulation = limits.simulate(entries * scale, None)
        else:
            # Values may become smaller than they were when `entries` was estimated.
            most = min(limits.max_entries or inf, _SPARE * entries) * scale
            self.simulation = limits.simulate(most, limits.max_bytes * scale)
        self.misses = 0
        self.real_misses = 0
        self.apart = 0

    @property
    def counted(self) -> tuple[int, int, int]:
        """The three counts."""
        return self.misses, self.real_misses, self.apart
