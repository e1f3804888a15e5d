"""One replica of a store, the order of copies by age, and tombstones."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.core.ttl import LATEST
from kvwrap.errors import KvwrapError
from kvwrap.layers.shared.guard import Guard

_TOMBSTONE = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.tombstone"))


class Replica:
    """A store that may be unavailable or behind.

    Args:
        name: The name of the replica.
        store: The store.
        guard: The circuit breaker around the store.

    Attributes:
        name: The name of the replica.
        store: The store.
        call: Calls a method of the store through its circuit breaker.
        failures: Number of calls that failed.
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
        current: Sequence[Entry | None],
        newest: Sequence[Entry | None],
    ) -> int:
        """Replace the copies that are older than the newest. Returns the number of replaced ones.

        A copy that has changed meanwhile is not replaced, if the store can compare versions. An
        error is counted and not raised.

        Args:
            collection: The collection of the keys.
            keys: The keys.
            current: The copies that this replica has.
            newest: The newest copies of all replicas.
        """
        behind = [
            index
            for index, (old, new) in enumerate(zip(current, newest, strict=True))
            if lww_key(old) < lww_key(new)
        ]
        if not behind:
            return 0
        entries = [entry for index in behind if (entry := newest[index]) is not None]
        expected: list[Expected] | None = None
        if Capability.COMPARE_AND_PUT in self.store.capabilities:
            expected = [
                ABSENT if (old := current[index]) is None else old.version for index in behind
            ]
        try:
            written = await self.call(
                self.store.write, collection, [keys[index] for index in behind], entries, expected
            )
        except KvwrapError:
            self.failures += 1
            return 0
        return sum(written)


def lww_key(entry: Entry | None) -> tuple[int, int]:
    """Return the last-write-wins key of a copy: creation time in milliseconds, then version.

    The copy with the highest key is the newest. Versions are random, so of two writes in one
    millisecond either may win, but the same one for every reader.
    """
    return (-1, -1) if entry is None else (int(entry.created_at * 1000), entry.version)


def tombstone(over: Entry | None, now: float, ttl: float) -> Entry:
    """Return a tombstone that is newer than this entry and lives for `ttl` seconds.

    It marks the key as removed for replicas that missed the removal.
    """
    created_at = next_timestamp(over, now)
    return Entry(b"", _TOMBSTONE, created_at, min(created_at + ttl, LATEST), new_version())


def is_tombstone(entry: Entry) -> bool:
    """Return True if this entry marks its key as removed."""
    return entry.codec == _TOMBSTONE


def next_timestamp(entry: Entry | None, now: float) -> float:
    """Return `now`, or the next millisecond after the entry's creation time if that is later."""
    return now if entry is None else max(now, entry.created_at + 0.001)
