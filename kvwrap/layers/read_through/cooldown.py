"""Cooldown: keys that the far store is not asked for, because it has just failed for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from kvwrap.core.clock import Clock
from kvwrap.core.primitives import QualifiedKey

COOLDOWN = 30.0
"""Seconds for which the far store is not asked again for a key that it failed to read.

Applies as long as the key can be answered without the far store.
"""


class Cooldown:
    """The keys in cooldown.

    Those whose cooldown is over are removed when others start theirs.

    Args:
        clock: Source of the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order of their ends, since all last equally long.
        self._ends: OrderedDict[QualifiedKey, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def start(self, keys: Iterable[QualifiedKey]) -> None:
        """Start the cooldown of these keys; restart it for those that are in cooldown."""
        now = self._clock.monotonic()
        ends = self._ends
        for key in keys:
            ends[key] = now + COOLDOWN
            ends.move_to_end(key)
        while ends and ends[next(iter(ends))] <= now:
            ends.popitem(last=False)

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
