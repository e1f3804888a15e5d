"""What a `MemoryStore` keeps for each key."""

from __future__ import annotations

from typing import TypeGuard

import msgspec

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection


class Record(msgspec.Struct, eq=False, gc=False):
    """An entry with its place in the store, in the queue of expiries and in those of eviction.

    A record whose entry was removed stays in the queues for a while. It contains no cycle, so the
    garbage collector need not visit it.

    Attributes:
        collection: The collection.
        key: The key.
        entry: The entry; None once it was removed.
        due: When the queue of expiries looks at the record: at the expiry of its entry, or
            earlier. None if it is not in that queue.
        uses: For eviction: how often the entry was used recently.
        place: For eviction: the queue that has the record.
    """

    collection: Collection
    key: str
    entry: Entry | None
    due: float | None = None
    uses: int = 0
    place: int = 0

    def __lt__(self, other: Record) -> bool:
        """Return True if this record is due earlier; both must be in the queue of expiries."""
        return self.due < other.due  # type: ignore[operator]  # neither is None there


def is_live(entry: Entry | None, now: float) -> TypeGuard[Entry]:
    """Return True if there is an entry and it has not expired."""
    return entry is not None and (entry.expires_at is None or entry.expires_at > now)


def size_of(record: Record) -> int:
    """Return the bytes of a record that count towards `max_bytes`; 0 if it was removed."""
    return 0 if record.entry is None else entry_size(record.entry)


def entry_size(entry: Entry) -> int:
    """Return the bytes of an entry that count towards `max_bytes`."""
    return len(entry.body) + len(entry.codec)
