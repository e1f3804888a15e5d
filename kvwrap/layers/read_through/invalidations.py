"""Pending invalidations: near copies whose removal the near store has not confirmed."""

from __future__ import annotations

from collections.abc import Iterable

from kvwrap.core.primitives import Collection

Target = tuple[()] | tuple[Collection] | tuple[Collection, str]
"""What is invalidated: everything, a whole collection, or a key of a collection."""

EVERYTHING: Target = ()

LIMIT = 10_000
"""Most pending invalidations that are kept separately."""


class PendingInvalidation:
    """One invalidation that is not confirmed.

    Attributes:
        until: When all copies that it is about must have expired, in Unix seconds.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


class PendingInvalidations(dict[Target, PendingInvalidation]):
    """The pending invalidations of one tier, by target.

    An invalidation is added in the same step in which a change of the far store is known to
    have ended. It is removed when the near store has confirmed a change that began later. While
    it is pending, reads skip the near store. A near store that fails, or a caller that is
    cancelled halfway, therefore leaves no outdated copy in use.

    Args:
        limit: Most invalidations kept. If there are more, one of everything replaces them.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__()
        self._limit = limit

    def is_pending(self, collection: Collection, key: str, now: float) -> bool:
        """Return True if the copy of this key must not be read.

        Removes invalidations of this key whose copies must have expired by now.
        """
        targets: tuple[Target, ...] = ((collection, key), (collection,), EVERYTHING)
        for target in targets:
            invalidation = self.get(target)
            if invalidation is not None:
                if invalidation.until > now:
                    return True
                del self[target]
        return False

    def add(
        self, targets: Iterable[Target], until: float, now: float
    ) -> dict[Target, PendingInvalidation]:
        """Add an invalidation of these targets. Returns what `confirm` takes.

        Args:
            targets: What is invalidated.
            until: When all copies of it must have expired, in Unix seconds.
            now: The time, in Unix seconds.
        """
        invalidation = PendingInvalidation(until)
        added = dict.fromkeys(targets, invalidation)
        self.update(added)
        if len(self) > self._limit:
            for target in [target for target, known in self.items() if known.until <= now]:
                del self[target]
            if len(self) > self._limit:
                last = max(known.until for known in self.values())
                self.clear()
                self[EVERYTHING] = PendingInvalidation(last)
        return added

    def current(self, targets: Iterable[Target]) -> dict[Target, PendingInvalidation]:
        """Return the invalidations of these targets that are pending now, for `confirm`."""
        return {target: self[target] for target in targets if target in self}

    def confirm(self, invalidations: dict[Target, PendingInvalidation]) -> None:
        """Remove these invalidations, except where a later one has replaced them."""
        for target, invalidation in invalidations.items():
            if self.get(target) is invalidation:
                del self[target]
