"""Calls that change entries: their outcome per key, and which of them overlapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.core.turns import slices, turn

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
        begun: Number of keys with which the call has begun.
    """

    def __init__(self, collection: Collection, keys: Sequence[str]) -> None:
        self.collection = collection
        self.keys = list(dict.fromkeys(keys))
        self.qualified_keys = [(collection, key) for key in self.keys]
        self.outcomes: dict[str, object] = {}
        self.begun = 0
        self._overlapped: set[str] = set()

    @property
    def changed_nothing(self) -> bool:
        """True if the call is known to have changed no key."""
        outcomes = self.outcomes.values()
        return len(outcomes) == len(self.keys) and all(outcome is UNCHANGED for outcome in outcomes)

    def record(self, key: str, outcome: object) -> None:
        """Record the outcome for a key: an entry, `None` (removed), or `UNCHANGED`.

        Of a key that occurs several times, the last occurrence that changed it counts.
        """
        if key not in self._overlapped and (outcome is not UNCHANGED or key not in self.outcomes):
            self.outcomes[key] = outcome

    def overlap(self, key: str) -> None:
        """Make the outcome for a key uncertain, because another call changes it too."""
        self._overlapped.add(key)
        self.outcomes.pop(key, None)


class Changes:
    """The changes in progress."""

    def __init__(self) -> None:
        self._in_progress: dict[QualifiedKey, tuple[Change, ...]] = {}

    def __contains__(self, qualified_key: QualifiedKey) -> bool:
        return qualified_key in self._in_progress

    def __len__(self) -> int:
        return len(self._in_progress)

    async def begin(self, change: Change) -> None:
        """Begin a change. The caller must pass it to `end`, also after an error of this call."""
        alone = (change,)
        for part in slices(len(change.keys)):
            if part.start:
                await turn()
            for qualified_key in change.qualified_keys[part]:
                others = self._in_progress.get(qualified_key)
                if others is None:
                    self._in_progress[qualified_key] = alone
                    continue
                self._in_progress[qualified_key] = (*others, change)
                for each in (*others, change):
                    each.overlap(qualified_key[1])
            change.begun = min(part.stop, len(change.keys))

    async def end(self, change: Change) -> None:
        """End a change. If this is cancelled, it has ended too."""
        ended = 0
        try:
            for part in slices(change.begun):
                if part.start:
                    await turn()
                self._end(change, change.qualified_keys[part])
                ended = part.stop
        finally:
            self._end(change, change.qualified_keys[ended : change.begun])

    def _end(self, change: Change, qualified_keys: Sequence[QualifiedKey]) -> None:
        for qualified_key in qualified_keys:
            others = tuple(e for e in self._in_progress[qualified_key] if e is not change)
            if others:
                self._in_progress[qualified_key] = others
            else:
                del self._in_progress[qualified_key]
