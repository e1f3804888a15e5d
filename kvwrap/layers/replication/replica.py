"""One of several copies of a store, which copy of an entry is the newest, and tombstones."""

from __future__ import annotations

import random
from collections.abc import Sequence

from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives
from kvwrap.core.ttl import LATEST
from kvwrap.errors import KvwrapError
from kvwrap.layers.shared.guard import Guard

_TOMBSTONE = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.tombstone"))


class Replica:
    """A store that may be down or behind.

    Attributes:
        name: How it is told from the others.
        store: The store itself.
        failures: How many calls it failed at.
    """

    def __init__(self, name: str, store: Primitives, guard: Guard) -> None:
        self.name = name
        self.store = store
        self.call = guard.call
        self.failures = 0

    async def repair(
        self,
        collection: Collection,
        keys: Sequence[str],
        stale: Sequence[Entry | None],
        newest: Sequence[Entry | None],
    ) -> int:
        """Replace what is older here than elsewhere; how many entries were replaced.

        What has changed meanwhile is left alone, where the store can compare versions.
        """
        places = [
            place
            for place, (old, new) in enumerate(zip(stale, newest, strict=True))
            if lww_key(old) < lww_key(new)
        ]
        if not places:
            return 0
        entries = [entry for place in places if (entry := newest[place]) is not None]
        expected: list[Expected] | None = None
        if Capability.COMPARE_AND_PUT in self.store.capabilities:
            expected = [
                ABSENT if (old := stale[place]) is None else old.version for place in places
            ]
        try:
            written = await self.call(
                self.store.write, collection, [keys[place] for place in places], entries, expected
            )
        except KvwrapError:
            self.failures += 1
            return 0
        return sum(written)


def lww_key(entry: Entry | None) -> tuple[int, int]:
    """What makes one copy newer than another: when it was made, in milliseconds; then its version.

    Versions are random, so of two writes in one millisecond either may be taken for the
    newer, but by everybody the same.
    """
    return (-1, -1) if entry is None else (int(entry.created_at * 1000), entry.version)


def tombstone(over: Entry | None, now: float, ttl: float) -> Entry:
    """What stands for a removed entry, so that a copy that missed the removal is told by it."""
    made = next_timestamp(over, now)
    return Entry(b"", _TOMBSTONE, made, min(made + ttl, LATEST), random.getrandbits(64))


def is_tombstone(entry: Entry) -> bool:
    """Whether this stands for a removed entry."""
    return entry.codec == _TOMBSTONE


def next_timestamp(entry: Entry | None, now: float) -> float:
    """A moment that is later than the entry's, and now if it can be."""
    return now if entry is None else max(now, entry.created_at + 0.001)
