"""Cooldown: keys that the far store is not asked for, because it has just failed for them."""

from __future__ import annotations

from collections.abc import Iterable

from kvwrap.core.clock import Clock
from kvwrap.core.primitives import QualifiedKey

COOLDOWN = 30.0
"""Seconds for which the far store is not asked again for a key that it failed to read.

Applies as long as the key can be answered without the far store.
"""


class Cooldown:
    """The keys in cooldown.

    Args:
        clock: Source of the time.
        max_keys: Number of keys above which `start` first removes those whose cooldown is over.
    """

    def __init__(self, clock: Clock, max_keys: int = 10_000) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._ends: dict[QualifiedKey, float] = {}

    def start(self, keys: Iterable[QualifiedKey]) -> None:
        """Start the cooldown of these keys; restart it for those that are in cooldown."""
        now = self._clock.monotonic()
        if len(self._ends) > self._max_keys:
            self._ends = {key: end for key, end in self._ends.items() if end > now}
        self._ends.update(dict.fromkeys(keys, now + COOLDOWN))

    def end(self, keys: Iterable[QualifiedKey]) -> None:
        """End the cooldown of these keys."""
        if self._ends:
            for key in keys:
                self._ends.pop(key, None)

    def clear(self) -> None:
        """End the cooldown of all keys."""
        self._ends.clear()

    def __contains__(self, key: QualifiedKey) -> bool:
        end = self._ends.get(key) if self._ends else None
        return end is not None and self._clock.monotonic() < end
