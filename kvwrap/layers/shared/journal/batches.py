"""What a sender sends in one call, and as how many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.layers.shared.journal.change import Change

_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of values after which a batch is sent."""


class Batches:
    """Chooses the changes for one call: consecutive ones of one collection and kind.

    Args:
        clock: The source of the time.
        size: The most changes in a batch.
    """

    def __init__(self, clock: Clock, size: int) -> None:
        self._clock = clock
        self._size = self._limit = size

    def next(self, changes: Iterable[Change]) -> tuple[list[Change], bool]:
        """Return the first changes that fit into one call, and whether they are removals."""
        batch: list[Change] = []
        are_removals = False
        size = 0
        for change in changes:
            if not batch:
                are_removals = self.is_removal(change)
            elif (
                len(batch) == self._limit
                or size > _MAX_BYTES
                or change.collection != batch[0].collection
                or self.is_removal(change) != are_removals
            ):
                break
            batch.append(change)
            size += 0 if change.entry is None else len(change.entry.body)
        return batch, are_removals

    def is_removal(self, change: Change) -> bool:
        """Return True if the change is sent as a removal.

        So is an entry that expired before it was sent: an older entry under its key must not
        become visible again.
        """
        entry = change.entry
        return entry is None or (
            entry.expires_at is not None and entry.expires_at <= self._clock.time()
        )

    def shrink(self, count: int) -> None:
        """Halve the next batches, after one of this many changes did not go through."""
        self._limit = (count + 1) // 2

    def grow(self) -> None:
        """Let the next batches be larger, after one went through."""
        self._limit = min(self._size, self._limit + 1 + self._limit // 4)
