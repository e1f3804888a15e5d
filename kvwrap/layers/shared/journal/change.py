"""An accepted change, and a change that the backend refused."""

from __future__ import annotations

import msgspec

from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection, QualifiedKey


class Change(msgspec.Struct, frozen=True):
    """An accepted change of one key.

    Attributes:
        number: The sequence number; higher than that of every change accepted before.
        collection: The collection of the key.
        key: The key.
        entry: The entry to write; `None` removes the key.
        accepted_at: When it was accepted, in Unix seconds; 0 for a change that an earlier process
            has accepted.
    """

    number: int
    collection: Collection
    key: str
    entry: Entry | None
    accepted_at: float = 0.0

    @property
    def qualified_key(self) -> QualifiedKey:
        """The collection and the key."""
        return (self.collection, self.key)

    def live(self, now: float) -> Entry | None:
        """Return the entry, or None if it has expired or the change is a removal."""
        return live(self.entry, now)


class Refused(msgspec.Struct, frozen=True):
    """A change that was accepted, and that the backend refused when it was sent.

    Attributes:
        collection: The collection of the key.
        key: The key.
        reason: The name of the error that the backend raised.
    """

    collection: Collection
    key: str
    reason: str
