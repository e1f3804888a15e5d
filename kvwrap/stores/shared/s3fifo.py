"""What every form of S3-FIFO has in common (Yang et al., SOSP 2023), wherever its entries are."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Final

MOST_USES: Final = 3
"""Uses that are counted, and so the rounds in the main queue that they are good for."""

ATTEMPTS: Final = 1000
"""Used entries that one eviction passes over at most, so that its time is bounded."""

_SMALL_SHARE: Final = 10
"""The small queue is used up to a tenth of the whole."""


def is_small_next(small: int, main: int) -> bool:
    """Return True if the small queue evicts next, for the weights of the two queues."""
    return small * _SMALL_SHARE >= small + main


def remember(hashes: MutableSequence[int], hashed: int) -> None:
    """Remember a name that was evicted from the small queue.

    A name has one position among the hashes, and replaces what was there. With as many positions
    as there are entries, a name is remembered for about as many evictions as there are entries.

    Args:
        hashes: 32 bits for each position, 0 where nothing is remembered.
        hashed: 64 bits of the name's hash.
    """
    hashes[hashed % len(hashes)] = _mark(hashed)


def take(hashes: MutableSequence[int], hashed: int) -> bool:
    """Return True if a name is remembered, and forget it."""
    if not hashes or hashes[index := hashed % len(hashes)] != _mark(hashed):
        return False
    hashes[index] = 0
    return True


def _mark(hashed: int) -> int:
    # Other bits than those that choose the position; 0 is an empty position.
    return (hashed >> 32 & 0xFFFFFFFF) or 1
