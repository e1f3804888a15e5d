"""Which near copies are not to be believed."""

from __future__ import annotations

from collections.abc import Iterable

from kvwrap.core.primitives import Collection

Name = tuple[()] | tuple[Collection] | tuple[Collection, str]
"""A key with its collection, a whole collection, or all of them."""

EVERYTHING: Name = ()


class PendingInvalidation:
    """One reason not to believe a copy; `until` is when no copy that it is about can be left."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


class PendingInvalidations(dict[Name, PendingInvalidation]):
    """The doubts of one tier, by what they are about.

    A doubt is raised in the same step in which a change of the far store is known to have
    ended, and settled when the near store has confirmed a change that began later. As long
    as it stands, reads pass the near store by. So a near store that fails, or a caller
    cancelled half-way, leaves no outdated copy in use.

    Args:
        most: The most doubts kept; beyond them everything is in doubt, as one.
    """

    def __init__(self, most: int = 10_000) -> None:
        super().__init__()
        self._most = most

    def is_pending(self, collection: Collection, key: str, now: float) -> bool:
        """Whether the copy of this key is in doubt; forgets doubts that time has settled."""
        names: tuple[Name, ...] = ((collection, key), (collection,), EVERYTHING)
        for name in names:
            doubt = self.get(name)
            if doubt is not None:
                if doubt.until > now:
                    return True
                del self[name]
        return False

    def add(
        self, names: Iterable[Name], until: float, now: float
    ) -> dict[Name, PendingInvalidation]:
        """Doubt these, and give back what `settle` takes."""
        doubt = PendingInvalidation(until)
        raised = dict.fromkeys(names, doubt)
        self.update(raised)
        if len(self) > self._most:
            for name in [name for name, known in self.items() if known.until <= now]:
                del self[name]
            if len(self) > self._most:
                last = max(known.until for known in self.values())
                self.clear()
                self[EVERYTHING] = PendingInvalidation(last)
        return raised

    def pending(self, names: Iterable[Name]) -> dict[Name, PendingInvalidation]:
        """Those doubts about these names that stand now, for `settle`."""
        return {name: self[name] for name in names if name in self}

    def settle(self, doubts: dict[Name, PendingInvalidation]) -> None:
        """Believe again, except where another doubt has been raised since."""
        for name, doubt in doubts.items():
            if self.get(name) is doubt:
                del self[name]
