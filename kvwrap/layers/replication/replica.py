"""One replica: what it has, and writes that only ever make it newer."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.batch import add_succeeded, indexes_of, take
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives
from kvwrap.core.turns import in_slices
from kvwrap.errors import CorruptEntry, KvwrapError
from kvwrap.layers.replication.dates import Copy, Dates
from kvwrap.layers.shared.guard import Guard


class Replica:
    """A store that may be unavailable or behind.

    Args:
        name: The name of the replica.
        store: The store.
        guard: The circuit breaker around the store.
        dates: The order of copies by age.

    Attributes:
        name: The name of the replica.
        store: The store.
        call: Calls a method of the store through its circuit breaker.
        failures: Number of operations that failed: reads, writes and repairs.
    """

    def __init__(self, name: str, store: Primitives, guard: Guard, dates: Dates) -> None:
        self.name = name
        self.store = store
        self.call = guard.call
        self.failures = 0
        self._dates = dates
        self._compares = Capability.COMPARE_AND_PUT in store.capabilities

    async def look(self, collection: Collection, keys: Sequence[str]) -> list[Copy]:
        """Return what the replica has for each key; bytes that cannot be read as their error."""
        try:
            return list(await self.call(self.store.read, collection, keys))
        except CorruptEntry as error:
            if len(keys) == 1:
                return [error]
        return [(await self.look(collection, [key]))[0] for key in keys]

    async def behind(self, copies: Sequence[Copy], newest: Sequence[Copy]) -> list[int]:
        """Return the indexes at which the replica's copy can be replaced by a newer one.

        A copy that cannot be read is left alone: nothing tells what another writer does to it.
        """
        rank = self._dates.rank

        def is_behind(copy: Copy, entry: Copy) -> bool:
            return (
                isinstance(entry, Entry)
                and not isinstance(copy, CorruptEntry)
                and (copy is None or copy.codec != entry.codec or copy.version != entry.version)
                and rank(copy) < rank(entry)
            )

        return indexes_of(await in_slices(is_behind, copies, newest))

    async def catch_up(
        self,
        collection: Collection,
        keys: Sequence[str],
        newest: Sequence[Copy],
        copies: Sequence[Copy],
    ) -> int:
        """Advance where the replica's copies are behind the newest. Returns the number written."""
        behind = {keys[index]: index for index in await self.behind(copies, newest)}
        entries = {
            key: entry for key, index in behind.items() if isinstance(entry := newest[index], Entry)
        }
        if not entries:
            return 0
        seen = [copies[behind[key]] for key in entries]
        return await self.advance(collection, list(entries), list(entries.values()), seen)

    async def advance(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        copies: Sequence[Copy],
    ) -> int:
        """Write entries that are newer than the replica's copies. Returns their number.

        Each is written on condition that the replica still has the copy that was seen. If it
        has another one, that one is compared. So a replica never gets an older entry in place
        of a newer one, whatever else is written there. Two exceptions: a store that cannot compare
        versions, and a copy that cannot be read, are written without a condition.

        The `succeeded` of its error lists the keys for which the replica is up to date.

        Args:
            collection: The collection of the keys.
            keys: The keys, each once.
            entries: The entries with their dates.
            copies: What the replica was seen to have, all of it older.
        """
        rank = self._dates.rank
        written = 0
        seen = list(copies)
        pending: Sequence[int] = range(len(keys))
        try:
            for attempt in ATTEMPTS:
                await backoff(attempt)
                names = take(keys, pending)
                versions = await in_slices(_expected, take(seen, pending))
                flags = await self.call(
                    self.store.write,
                    collection,
                    names,
                    take(entries, pending),
                    versions if self._compares else None,
                )
                written += sum(flags)
                if all(flags):
                    return written
                pending = [index for index, flag in zip(pending, flags, strict=True) if not flag]
                names = take(keys, pending)
                for index, copy in zip(pending, await self.look(collection, names), strict=True):
                    seen[index] = copy
                pending = [i for i in pending if rank(seen[i]) < rank(entries[i])]
                if not pending:
                    return written
            raise conflict(self.name, collection, keys[pending[0]])
        except KvwrapError as error:
            behind = {keys[index] for index in pending}
            add_succeeded(error, keys, [key for key in keys if key not in behind])
            raise


def _expected(copy: Copy) -> Expected:
    """Return the condition that a replica still has this copy."""
    if copy is None:
        return ABSENT
    return None if isinstance(copy, CorruptEntry) else copy.version
