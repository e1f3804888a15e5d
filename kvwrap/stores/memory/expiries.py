"""The records that expire, in the order of their expiry."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf

from kvwrap.stores.memory.record import Record

_STEPS = 4
"""Records of the old heap that each removal moves to the new one."""

_TOLERATED = 64
"""Removed records that a heap may always have."""


class Expiries:
    """A heap of records by `due`. Every change takes a bounded time.

    A removed record stays in the heap. Once more than half are of that kind, the heap is
    replaced step by step: each later removal moves some records from the end of the old heap to
    a new one, and drops the removed ones.

    Attributes:
        first: When the first record is due; infinity if the queue is empty.
    """

    def __init__(self) -> None:
        self.first = inf
        self._heap: list[Record] = []
        self._old: list[Record] = []
        self._removed = 0

    def __len__(self) -> int:
        """Return the number of records, including removed ones that are still there."""
        return len(self._heap) + len(self._old)

    def add(self, record: Record, due: float) -> None:
        """Add a record that is in no heap."""
        record.due = due
        heappush(self._heap, record)
        if due < self.first:
            self.first = due

    def discard(self, record: Record) -> None:
        """Note that the entry of a record was removed."""
        if record.due is not None:
            self._removed += 1
            if self._old:
                self._tidy()
            elif self._removed > len(self._heap) // 2 + _TOLERATED:
                self._heap, self._old = [], self._heap

    def pop(self, now: float) -> Record | None:
        """Return a record that was due by `now`, which is then in no heap, or None."""
        if self.first > now:
            return None
        record = heappop(self._earlier())
        record.due = None
        if record.entry is None:
            self._removed -= 1
        heap = self._earlier()
        self.first = heap[0].due or 0.0 if heap else inf
        return record

    def _earlier(self) -> list[Record]:
        """Return the heap with the first record."""
        heap, old = self._heap, self._old
        return old if old and (not heap or old[0] < heap[0]) else heap

    def _tidy(self) -> None:
        old = self._old
        for _ in range(min(_STEPS, len(old))):
            record = old.pop()  # the last one, so that the rest is still a heap
            if record.entry is None:
                record.due = None
                self._removed -= 1
            else:
                heappush(self._heap, record)
