"""Which files will have expired, as far as a store has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from kvwrap.stores.file_tree.places import Place

_MOST: Final = 100_000
"""Number of files that are remembered; others are left for reads and for `sweep`."""

_MOST_SEEN: Final = 1000


class Expiries:
    """The files that a store has written with an expiry time, and those it has found expired.

    One thread adds and takes them. `see` may be called in others.
    """

    def __init__(self) -> None:
        self._written: list[tuple[float, Place]] = []
        self._seen: deque[Place] = deque(maxlen=_MOST_SEEN)

    def add(self, expires_at: float | None, place: Place) -> None:
        """Remember a file that was written with this expiry time."""
        if expires_at is not None and len(self._written) < _MOST:
            heappush(self._written, (expires_at, place))

    def see(self, place: Place) -> None:
        """Remember a file that was found expired."""
        self._seen.append(place)

    def take(self, now: float, count: int) -> Iterator[Place]:
        """Take up to this many files that have probably expired."""
        for _ in range(count):
            if self._seen:
                yield self._seen.popleft()
            elif self._written and self._written[0][0] <= now:
                yield heappop(self._written)[1]
            else:
                return
