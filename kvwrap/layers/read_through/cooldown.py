"""Keys that the far store has just failed to renew."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from kvwrap.core.clock import Clock

COOLDOWN = 30.0
"""Seconds for which a key that could not be renewed is not asked for again, if it need not be."""


class Cooldown:
    """Until when keys are left alone.

    Args:
        clock: Where the time comes from.
        most: How many are kept before those that are over are let go.
    """

    def __init__(self, clock: Clock, most: int = 10_000) -> None:
        self._clock = clock
        self._most = most
        self._ends: dict[Hashable, float] = {}

    def begin(self, names: Iterable[Hashable]) -> None:
        """Leave these alone from now on."""
        now = self._clock.monotonic()
        if len(self._ends) > self._most:
            self._ends = {name: end for name, end in self._ends.items() if end > now}
        self._ends.update(dict.fromkeys(names, now + COOLDOWN))

    def end(self, names: Iterable[Hashable]) -> None:
        """These need no rest any more."""
        if self._ends:
            for name in names:
                self._ends.pop(name, None)

    def clear(self) -> None:
        """None needs rest any more."""
        self._ends.clear()

    def __contains__(self, name: Hashable) -> bool:
        end = self._ends.get(name) if self._ends else None
        return end is not None and self._clock.monotonic() < end
