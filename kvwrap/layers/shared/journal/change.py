"""A change that has been accepted, and one that the backend refused."""

from __future__ import annotations

import msgspec

from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection, QualifiedKey


class Change(msgspec.Struct, frozen=True):
    """What is to be under a key: an entry, or nothing where `entry` is `None`.

    Attributes:
        number: Higher than that of every change accepted before.
    """

    number: int
    collection: Collection
    key: str
    entry: Entry | None

    @property
    def qualified(self) -> QualifiedKey:
        """Where it belongs."""
        return (self.collection, self.key)

    def live(self, now: float) -> Entry | None:
        """The entry, unless it has expired."""
        return live(self.entry, now)


class Refused(msgspec.Struct, frozen=True):
    """A change that was accepted, and that the backend would not take when it was sent.

    Attributes:
        collection: Its collection.
        key: Its key.
        reason: The name of the error that the backend raised.
    """

    collection: Collection
    key: str
    reason: str
