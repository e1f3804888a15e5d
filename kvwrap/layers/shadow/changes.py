"""Calls that change entries: what they leave behind, and which of them ran into one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.layers.shadow.backlog import count_down

AS_IT_WAS: Final = object()
"""In place of an entry: the call has left what was there."""


class Change:
    """A call that changes entries, and what it has left under those keys of which that is sure."""

    def __init__(self, collection: Collection, keys: Sequence[str]) -> None:
        self.collection = collection
        self.keys = list(dict.fromkeys(keys))
        self.qualified_keys = [(collection, key) for key in self.keys]
        self.left: dict[str, object] = {}

    @property
    def left_all(self) -> bool:
        """Whether the call is known to have changed nothing."""
        left = self.left.values()
        return len(left) == len(self.keys) and all(each is AS_IT_WAS for each in left)

    def to(self, key: str, left: object) -> None:
        """The call has left this entry, nothing (`None`), or what was there."""
        if left is not AS_IT_WAS or key not in self.left:
            self.left[key] = left


class Changes:
    """The changes that are under way."""

    def __init__(self) -> None:
        self._under_way: Counter[QualifiedKey] = Counter()
        self._overlapping: set[QualifiedKey] = set()

    def __contains__(self, qualified: QualifiedKey) -> bool:
        return qualified in self._under_way

    def begin(self, collection: Collection, keys: Sequence[str]) -> Change:
        """A call begins that changes these keys; to be ended, whatever becomes of it."""
        change = Change(collection, keys)
        for qualified in change.qualified_keys:
            self._under_way[qualified] += 1
            if self._under_way[qualified] > 1:
                self._overlapping.add(qualified)
        return change

    def end(self, change: Change) -> None:
        """It has ended; of keys that others changed at the same time nothing is sure."""
        for qualified in change.qualified_keys:
            if qualified in self._overlapping:
                change.left.pop(qualified[1], None)
        count_down(self._under_way, change.qualified_keys)
        self._overlapping.difference_update(
            [qualified for qualified in change.qualified_keys if qualified not in self._under_way]
        )
