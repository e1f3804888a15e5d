"""The change that keeps failing although the target answers, and may be the reason itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from kvwrap.core.primitives import QualifiedKey
from kvwrap.layers.shared.journal.batches import Batches
from kvwrap.layers.shared.journal.change import Change

_ATTEMPTS: Final = 8
"""Failed calls in a row after which a change, not the target, may be the reason."""


class Suspect:
    """The change that failed by itself at last, and how often in a row.

    After `_ATTEMPTS` failures, changes that the target takes are evidence against it. For a write
    these are other writes: a target without space takes removals. For a removal they are all
    others. Without such a witness nothing is known, and the other changes go before it.

    Args:
        batches: Knows which changes are sent as removals.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._change: Change | None = None
        self._attempts = 0

    def clear(self) -> None:
        """Forget it, since the target does not answer."""
        self._change = None

    def update(self, pending: Mapping[QualifiedKey, Change]) -> None:
        """Forget it if it is no longer pending: it was sent, set aside or replaced."""
        change = self._change
        if change is not None and pending.get(change.qualified_key) is not change:
            self._change = None

    def add_failure(self, change: Change) -> None:
        """Count a failure of a change that was sent by itself, while the target answers."""
        if self._change is not change:
            self._change, self._attempts = change, 0
        self._attempts += 1

    @property
    def is_new(self) -> bool:
        """True after the failure with which it becomes one to judge."""
        return self._change is not None and self._attempts == _ATTEMPTS

    def witness(self, pending: Mapping[QualifiedKey, Change]) -> Change | None:
        """Return the change to send as evidence; another one each time, as it may fail itself."""
        if self._change is None or self._attempts < _ATTEMPTS:
            return None
        witnesses = self._witnesses(pending, self._change)
        return witnesses[(self._attempts - _ATTEMPTS) % len(witnesses)] if witnesses else None

    def in_order(self, pending: Mapping[QualifiedKey, Change]) -> Iterable[Change]:
        """Return the changes to send next, oldest first, without this one if it can wait."""
        change = self._change
        if change is None or self._attempts < _ATTEMPTS or self._witnesses(pending, change):
            return pending.values()
        others = [other for other in pending.values() if other is not change]
        return others or pending.values()

    def _witnesses(self, pending: Mapping[QualifiedKey, Change], change: Change) -> list[Change]:
        is_removal = self._batches.is_removal
        any_kind = is_removal(change)
        return [
            other
            for other in pending.values()
            if other is not change and (any_kind or not is_removal(other))
        ]
