"""What is told about changes of entries, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Final, Protocol

import msgspec

from kvwrap.core.reserved import RESERVED


class ChangeKind(StrEnum):
    """What happened to an entry."""

    PUT = "put"
    """It was put, or got a new expiry time."""
    REMOVED = "removed"
    """It was deleted, or evicted by the backend."""
    EXPIRED = "expired"
    """It expired, and the backend has noticed that."""
    CHANGED = "changed"
    """One of these; the backend does not tell which."""
    LOST = "lost"
    """Anything that is watched may have changed."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of an entry.

    Attributes:
        kind: What happened. After `LOST`, anything that is watched may have changed: a link to
            the backend was cut, changes came faster than they were read, or a whole collection
            or store was dropped.
        collection: The collection; `None` is the default one. Without meaning for `LOST`.
        key: The key; `None` for `LOST`.
    """

    kind: ChangeKind
    collection: str | None = None
    key: str | None = None


LOST: Final = Change(ChangeKind.LOST)
"""The change that has no key."""


class All(Enum):
    """The type of `ALL`."""

    ALL = "all"

    def __repr__(self) -> str:
        return "kvwrap.ALL"


ALL: Final = All.ALL
"""Instead of a collection: all of them."""


class Scope(msgspec.Struct, frozen=True):
    """The entries whose changes are told.

    Attributes:
        collection: Their collection; `None` is the default one, and `ALL` stands for all.
        prefix: What their keys begin with.
        bound: Seconds after which the subscriber uses a `Subscription.heard_at` no longer. The
            link to the backend is checked in a third of that. `None` for one that does not look.
        reserved: Whether changes of the records of layers are told, whose collections or keys
            begin with `kvwrap.`. Those that `collection` or `prefix` names are told in any case.
    """

    collection: str | All | None = ALL
    prefix: str = ""
    bound: float | None = None
    reserved: bool = False

    def covers(self, collection: str | None, key: str) -> bool:
        """Return True if a change of this entry is told."""
        own = self.collection
        if (own is not ALL and own != collection) or not key.startswith(self.prefix):
            return False
        if self.reserved or self.prefix.startswith(RESERVED):
            return True
        if key.startswith(RESERVED):
            return own is not ALL and own is not None and own.startswith(RESERVED)
        return own is not ALL or collection is None or not collection.startswith(RESERVED)

    def covers_collection(self, collection: str | None) -> bool:
        """Return True if entries of this collection are in the scope."""
        return self.collection is ALL or self.collection == collection


Listener = Callable[[Change], None]
"""Is called with each change at once, in their order, in the event loop that subscribed.

It must not raise.
"""


class Subscription(Protocol):
    """What `Primitives.subscribe` returns."""

    @property
    def heard_at(self) -> float:
        """The moment before which every change has been told, by `Clock.monotonic`.

        Infinity for a store in this process, which tells every change as it happens.
        """

    async def close(self) -> None:
        """End it: nothing is told afterwards. A second call does nothing."""
