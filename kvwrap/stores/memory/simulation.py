"""What a `MemoryStore` with other limits would hold."""

from __future__ import annotations

from math import inf

from kvwrap.core.limits import Outline
from kvwrap.core.primitives import Collection, KeyRange, QualifiedKey
from kvwrap.stores.memory.eviction import S3FIFO
from kvwrap.stores.shared.s3fifo import MOST_USES

_SHARE = 8
"""The expired are removed once in as many puts as an eighth of the entries."""


class EvictionSimulation:
    """Outlines of few entries, which are evicted as the entries of a `Table` are.

    It has no queue of expiries: from time to time it visits all entries.

    Args:
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size; None for no limit.
    """

    def __init__(self, max_entries: float | None, max_bytes: float | None) -> None:
        self._max_entries = inf if max_entries is None else max(1, round(max_entries))
        self._max_bytes = inf if max_bytes is None else max_bytes
        self._weigh = _one if max_bytes is None else _size
        self.drop_all()

    def drop_all(self) -> None:
        """Remove everything."""
        self._outlines: dict[QualifiedKey, Outline] = {}
        self._policy: S3FIFO[Outline] = S3FIFO(self._weigh)
        self._weight = 0
        self._first_end = inf
        self._puts = 0

    def __len__(self) -> int:
        return len(self._outlines)

    def use(self, name: QualifiedKey, now: float) -> bool:
        """Return True if a read at that time would be a hit."""
        outline = self._outlines.get(name)
        if outline is None or outline.end <= now:
            return False
        if outline.uses < MOST_USES:
            outline.uses += 1
        return outline.fresh_until > now

    def put(self, outline: Outline, now: float) -> None:
        """Put an entry at that time."""
        outlines, name = self._outlines, (outline.collection, outline.key)
        self._puts += 1
        if self._first_end <= now and self._puts * _SHARE > len(outlines):
            self._free(now)
        held = outlines.get(name)
        if held is not None:
            self._replace(held, outline)
        elif self._weigh(outline) <= self._max_bytes:
            self._make_room(1, self._weigh(outline))
            outlines[name] = outline
            self._weight += self._weigh(outline)
            self._policy.add(outline)
            self._first_end = min(self._first_end, outline.end)

    def _replace(self, held: Outline, outline: Outline) -> None:
        before = self._weigh(held)
        held.size, held.fresh_until, held.end = outline.size, outline.fresh_until, outline.end
        held.uses += held.uses < MOST_USES
        change = self._weigh(held) - before
        self._policy.reweigh(held, change)
        self._weight += change
        self._make_room(0, 0)
        self._first_end = min(self._first_end, outline.end)

    def _make_room(self, count: int, weight: int) -> None:
        """Evict others until there is room for this many more of this weight."""
        outlines = self._outlines
        while len(outlines) + count > self._max_entries or self._weight + weight > self._max_bytes:
            evicted = self._policy.evict()
            self._weight -= self._weigh(evicted)
            del outlines[evicted.collection, evicted.key]

    def remove(self, name: QualifiedKey) -> None:
        """Remove an entry if it is there."""
        outline = self._outlines.get(name)
        if outline is not None:
            self._forget(outline)

    def drop(self, collection: Collection, key_range: KeyRange) -> None:
        """Remove the entries of a range."""
        for outline in list(self._outlines.values()):
            if outline.collection == collection and outline.key in key_range:
                self._forget(outline)

    def _free(self, now: float) -> None:
        """Remove what has expired."""
        for outline in list(self._outlines.values()):
            if outline.end <= now:
                self._forget(outline)
        self._first_end = min((each.end for each in self._outlines.values()), default=inf)
        self._puts = 0

    def _forget(self, outline: Outline) -> None:
        del self._outlines[outline.collection, outline.key]
        self._weight -= self._weigh(outline)
        self._policy.discard(outline)


def _one(outline: Outline) -> int:
    return 1


def _size(outline: Outline) -> int:
    return outline.size
