"""Calls that change entries: their outcome per key, and which of them overlapped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.layers.shadow.backlog import count_down

UNCHANGED: Final = object()
"""In place of an entry: the call did not change the key."""


class Change:
    """A call that changes entries, with its outcome for each key whose outcome is certain.

    Attributes:
        collection: The collection of the keys.
        keys: The keys, each once.
        qualified_keys: The keys with their collection.
        outcomes: By key: the entry after the call, `None` if it was removed, or `UNCHANGED`.
            A key is missing while its outcome is uncertain.
    """

    def __init__(self, collection: Collection, keys: Sequence[str]) -> None:
        self.collection = collection
        self.keys = list(dict.fromkeys(keys))
        self.qualified_keys = [(collection, key) for key in self.keys]
        self.outcomes: dict[str, object] = {}

    @property
    def changed_nothing(self) -> bool:
        """True if the call is known to have changed no key."""
        outcomes = self.outcomes.values()
        return len(outcomes) == len(self.keys) and all(outcome is UNCHANGED for outcome in outcomes)

    def record(self, key: str, outcome: object) -> None:
        """Record the outcome for a key: an entry, `None` (removed), or `UNCHANGED`.

        Of a key that occurs several times, the last occurrence that changed it counts.
        """
        if outcome is not UNCHANGED or key not in self.outcomes:
            self.outcomes[key] = outcome


class Changes:
    """The changes in progress."""

    def __init__(self) -> None:
        self._in_progress: Counter[QualifiedKey] = Counter()
        self._overlapping: set[QualifiedKey] = set()

    def __contains__(self, qualified_key: QualifiedKey) -> bool:
        return qualified_key in self._in_progress

    def __len__(self) -> int:
        return len(self._in_progress)

    def begin(self, collection: Collection, keys: Sequence[str]) -> Change:
        """Begin a change of these keys. The caller must pass it to `end`, also after an error."""
        change = Change(collection, keys)
        for qualified_key in change.qualified_keys:
            self._in_progress[qualified_key] += 1
            if self._in_progress[qualified_key] > 1:
                self._overlapping.add(qualified_key)
        return change

    def end(self, change: Change) -> None:
        """End a change; delete its outcomes for keys that other calls changed meanwhile."""
        for qualified_key in change.qualified_keys:
            if qualified_key in self._overlapping:
                change.outcomes.pop(qualified_key[1], None)
        count_down(self._in_progress, change.qualified_keys)
        self._overlapping.difference_update(
            [key for key in change.qualified_keys if key not in self._in_progress]
        )
