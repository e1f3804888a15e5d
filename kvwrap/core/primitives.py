"""The ten operations that a store does and a layer changes.

Every method of the public interface is made of these, so a layer that changes
`read` has changed `get`, `get_many`, `ttl`, `exists`, `items` and all the others
that read. All take batches; names in them have been checked, values are entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol

import msgspec

from kvwrap.core.capability import Capabilities
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
"""In place of a version: the write is wanted only where there is no entry."""

Expected = int | Absent | None
"""What must be under a key for a write to happen: that version, nothing, or anything."""


class KeyRange(msgspec.Struct, frozen=True):
    """Which keys are asked for: those with the prefix, from `start` up to but not `end`.

    Keys compare by their code points.
    """

    prefix: str = ""
    start: str | None = None
    end: str | None = None

    def __contains__(self, key: str) -> bool:
        return (
            key.startswith(self.prefix)
            and (self.start is None or key >= self.start)
            and (self.end is None or key < self.end)
        )


class Page(msgspec.Struct, frozen=True):
    """Some of the keys asked for, and where to go on; a cursor of `None` is the end.

    A page may be empty and yet not the last. The cursor is the store's own affair:
    a layer hands it through unread, or wraps it. The page of a cursor can be asked for
    again, as a retry does.
    """

    keys: Sequence[str]
    cursor: object = None


class Primitives(Protocol):
    """What stores and running layers have in common.

    A layer holds another `Primitives` as `inner`, which is a layer or a store: it
    cannot tell, and need not.
    """

    @property
    def name(self) -> str:
        """How errors and `explain()` call this part."""

    @property
    def clock(self) -> Clock:
        """Where this part takes the time from."""

    @property
    def capabilities(self) -> Capabilities:
        """What this part, with all that lies under it, can really do."""

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """The live entries under these keys, in their order; `None` where there is none."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Put each entry, and say for each whether it was put.

        With `expected`, each write happens, atomically for its key, only if what is
        there now is as expected. Without, all happen. Where a key occurs twice, the
        later entry stays.
        """

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Take entries away, and say for each whether a live one was there and is gone.

        `expected` as for `write`, versions or `None`.
        """

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Give entries another end (a moment, or `None` for never); False where none was."""

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """One page of the live keys of a collection; the first has the cursor `None`."""

    async def list_collections(self) -> list[Collection]:
        """The collections that hold anything; `None` among them for the default one."""

    async def drop(self, collection: Collection) -> bool:
        """Drop all entries of a collection; whether there was one."""

    async def drop_all(self) -> bool:
        """Drop all entries; whether there was one."""

    async def sweep(self) -> None:
        """Free what expired entries take up."""

    async def ping(self) -> None:
        """Reach the backend, or raise `StoreUnavailable`."""


PRIMITIVES: Final = (
    "read",
    "write",
    "remove",
    "touch",
    "list_keys",
    "list_collections",
    "drop",
    "drop_all",
    "sweep",
    "ping",
)
"""The names of the operations of `Primitives`."""
