"""The thirteen primitives: the operations that a store implements and a layer changes.

Every method of the public interface is built from these, so a layer that changes `read`
changes `get`, `get_many`, `ttl`, `exists`, `items` and all other methods that read. All take
batches. Their keys and collections have been checked, and values are entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol

import msgspec

from kvwrap.core.capability import Capabilities
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry

Collection = str | None
"""A namespace of keys; `None` is the default collection."""

QualifiedKey = tuple[Collection, str]
"""A collection and a key in it."""


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""Instead of a version: the write happens only if there is no entry."""

Expected = int | Absent | None
"""The condition of a write: the key has this version, or no entry, or anything (`None`)."""


class KeyRange(msgspec.Struct, frozen=True):
    """A range of keys: those with the prefix, from `start` up to but not including `end`.

    Keys compare by their code points.

    Attributes:
        masked: Whether to list also keys whose entries are at rest and hidden by a layer
            (`kvwrap.layers.base.Masking`), as a caller wants that removes or rewrites them.
    """

    prefix: str = ""
    start: str | None = None
    end: str | None = None
    masked: bool = False

    def __contains__(self, key: str) -> bool:
        return (
            key.startswith(self.prefix)
            and (self.start is None or key >= self.start)
            and (self.end is None or key < self.end)
        )


class Page(msgspec.Struct, frozen=True):
    """Some of the requested keys, and the cursor of the next page; `None` ends the listing.

    A page may be empty and still not be the last. Only the store knows what its cursor
    means: a layer passes it on unread, or wraps it. The page of a cursor can be requested
    again, as a retry does.
    """

    keys: Sequence[str]
    cursor: object = None


class Primitives(Protocol):
    """The operations that stores and running layers have in common.

    A layer has another `Primitives` as `inner`, which is a layer or a store. It cannot
    distinguish them, and need not.
    """

    @property
    def name(self) -> str:
        """The name of this part in errors and in `explain()`."""

    @property
    def clock(self) -> Clock:
        """The time source of this part."""

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that this part really has, together with everything under it."""

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Return the unexpired entry of each key, in the order of the keys; `None` if missing."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write each entry. Returns, per key, True if it was written.

        With `expected`, each write is atomic for its key, and happens only if its condition
        holds. Without `expected`, all happen. If a key occurs twice, the later entry wins.
        """

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Remove entries. Returns, per key, True if an unexpired entry existed and was removed.

        `expected` as for `write`, with versions or `None`.
        """

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Set new expiry times: Unix seconds, or `None` for no expiry.

        Returns, per key, True if an entry existed.
        """

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """Return one page of the unexpired keys of a collection.

        The cursor of the first page is `None`.
        """

    async def list_collections(self) -> list[Collection]:
        """Return the collections that have entries; `None` is the default collection."""

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Return the number of keys that `list_keys` returns in this range.

        Keys that begin with `kvwrap.`, the records of layers, are not counted.
        """

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Delete the entries in this range. Returns the number that `count_range` counts.

        Masked entries are deleted too, and not counted. The records of layers are left. An
        entry written meanwhile is deleted or not.
        """

    async def drop(self, collection: Collection) -> bool:
        """Delete all entries of a collection. Returns True if there was one."""

    async def drop_all(self) -> bool:
        """Delete all entries. Returns True if there was one."""

    async def sweep(self) -> None:
        """Free the space of expired entries."""

    async def ping(self) -> None:
        """Check that the backend responds; raises `StoreUnavailable` if not."""

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        """Tell a function what changes from now on, through whatever process.

        What may have been missed is told as `LOST`: when a link to the backend is cut, and again
        once it is back; when a whole collection or store is dropped. A change may be told more
        than once, and those of the caller are told too. The caller closes the subscription.
        """

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        """Return where, in which backends, the entry of a key may be, and its names there."""


CALLS: Final = (
    "read",
    "write",
    "remove",
    "touch",
    "list_keys",
    "list_collections",
    "count_range",
    "drop_range",
    "drop",
    "drop_all",
    "sweep",
    "ping",
)
"""The names of the operations that are over when they return, in which layers take part."""

PRIMITIVES: Final = (*CALLS, "subscribe")
"""The names of the operations of `Primitives`."""

Origin = tuple[Primitives, Collection, str]
"""A backend, and the collection and key of an entry there."""
