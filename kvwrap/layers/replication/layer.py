"""Every entry in several stores, so that some of them may fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Change,
    ChangeKind,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyedLocks,
    KeyRange,
    Layer,
    Listener,
    Measured,
    Origin,
    Page,
    Passage,
    Scope,
    Store,
    StoreSource,
    Subscription,
    add_succeeded,
    checked_count,
    checked_flag,
    checked_seconds,
    checked_sources,
    first_of_each,
    gather,
    holds_any,
    in_slices,
    indexes_of,
    new_version,
    take,
    touch_by_writing,
)
from kvwrap.layers.replication.dates import Dates
from kvwrap.layers.replication.quorum import Quorum
from kvwrap.layers.replication.replica import Replica
from kvwrap.layers.replication.snapshot import ReplicationSnapshot
from kvwrap.layers.replication.writer import Writer, occurrences
from kvwrap.layers.shared.findings import layer_under_one_store, plaintext_second_stores
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.merging import MergeCursor
from kvwrap.layers.shared.watching import subscribe_all


class Replication(Layer):
    """Writes every entry to several stores, and reads it from one or more of them.

    The store under the stack is the first replica, "0", and decides conditional writes. It must be
    the same store in every process. A write asks all replicas what they have, and then goes to all
    that answered, with a date after everything that it replaces. It is acknowledged when at least
    `write_quorum` have taken it. A write that fails may still be on some replicas. A read asks
    `read_quorum` replicas, in order, and further ones if some fail. Of several copies the newest
    wins (last write wins, by these dates), and replicas that were behind receive it (read repair).
    If `read_quorum + write_quorum` is above the number of replicas, a read sees every acknowledged
    write.

    Conditional writes are linearizable, whatever the clocks and also if a replica fails or is
    repaired meanwhile. They raise `StoreUnavailable` if the first replica does not answer, or if
    fewer than `write_quorum` replicas have taken what it decided. Every replica must be able to
    compare versions. When a call is cancelled, what it has written stays, as after a failure.

    A removed entry leaves a tombstone for `tombstone_ttl` seconds, so that a replica which
    missed the removal does not restore the entry. A replica that was away for longer must be
    emptied before it comes back. After `failures` failures in a row, a replica is not called
    for `open_for` seconds.

    Args:
        replicas: The other stores, by name or in a sequence ("1", "2", …).
        write_quorum: Number of replicas that must take a write; all of them if it is `None`.
        read_quorum: Number of replicas that a read asks.
        repair: Whether replicas that are behind receive the newest copy that a read found.
        tombstone_ttl: Seconds for which removals are remembered.
        failures: The number of failures in a row after which a replica is not called.
        open_for: Seconds for which it is not called.

    Raises:
        ConfigurationError: There are no other replicas, or a quorum is above their number.
    """

    passage = Passage(
        read="asks a quorum of replicas, and repairs old ones",
        write="goes to all replicas, and needs a quorum of them",
        inner="replica '0'",
    )
    traits: ClassVar[frozenset[str]] = frozenset({"replicates", "spreads"})
    finding_codes = frozenset(
        {"layer-under-one-store", "plaintext-second-store", "quorums-do-not-overlap"}
    )

    def __init__(
        self,
        replicas: Mapping[str, StoreSource] | Sequence[StoreSource],
        *,
        write_quorum: int | None = None,
        read_quorum: int = 1,
        repair: bool = True,
        tombstone_ttl: float = 86_400.0,
        failures: int = 3,
        open_for: float = 10.0,
    ) -> None:
        if not isinstance(replicas, Mapping | list | tuple) or not replicas:
            raise ConfigurationError(
                "`replicas` must be a sequence of stores, or a mapping such as {'1': store}, with "
                f"at least one; got {type(replicas).__name__ if replicas else repr(replicas)}"
            )
        if not isinstance(replicas, Mapping):
            replicas = {str(number): source for number, source in enumerate(replicas, 1)}
        if "0" in replicas:
            raise ConfigurationError(
                "`replicas` must not name a replica '0', which is the store under the stack; "
                "choose another name"
            )
        count = len(replicas) + 1
        self._write_quorum = count if write_quorum is None else write_quorum
        self._read_quorum = read_quorum
        for name in ("write_quorum", "read_quorum"):
            quorum = checked_count(getattr(self, f"_{name}"), name)
            if quorum > count:
                raise ConfigurationError(
                    f"`{name}` must be at most {count}, the number of replicas with the store "
                    f"under the stack; got {quorum}: lower it, or add replicas"
                )
        self._sources = checked_sources(replicas, "replicas")
        self._repair = checked_flag(repair, "repair")
        self._tombstone_ttl = checked_seconds(tombstone_ttl, "tombstone_ttl")
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")

    def on_bind(self) -> None:
        stores = {"0": self.inner}
        for name, source in self._sources.items():
            stores[name] = self.second(f"replica {name!r}", source)
        self._dates = Dates(self.clock)
        replicas = [
            Replica(
                name,
                store,
                Guard(
                    self.clock,
                    failures=self._failures,
                    open_for=self._open_for,
                    owner=self.name,
                    role=f"replica {name!r}",
                ),
                self._dates,
            )
            for name, store in stores.items()
        ]
        self._quorum = Quorum(replicas, self._dates, owner=self.name)
        self._writer = Writer(self._quorum, self._write_quorum)
        # Writes of one key by this process take turns, instead of competing for the replicas.
        self._locks = KeyedLocks()

    @property
    def idle(self) -> bool:
        """True while no write is in progress."""
        return not self._locks

    def snapshot(self) -> ReplicationSnapshot:
        """Return the current counts."""
        return ReplicationSnapshot(
            self._quorum.repaired,
            {replica.name: replica.failures for replica in self._quorum.replicas},
        )

    def measured(self) -> Iterable[Measured]:
        return (self.snapshot(),)

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that every replica has, and `CULL` if one replica has it."""
        return self._quorum.capabilities

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        newest, _ = await self._quorum.read_newest(
            collection, keys, self._read_quorum, repair=self._repair
        )
        return await in_slices(self._dates.visible, newest)

    # -- writing -----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._lock(collection, keys):
            if expected is not None:
                return await self._compare_and_write(collection, keys, entries, expected)
            last = dict(zip(keys, entries, strict=True))  # of a key that occurs twice
            await self._writer.write(collection, list(last), list(last.values()))
        return [True] * len(keys)

    async def _compare_and_write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        """Write conditionally; the second occurrence of a key after the first ones."""
        if Capability.COMPARE_AND_PUT not in self.capabilities:
            raise self.unsupported("compare versions, because not all of its replicas can")
        written = [False] * len(keys)
        for indexes in occurrences(keys):
            names = take(keys, indexes)
            try:
                flags = await self._writer.compare_and_write(
                    collection, names, take(entries, indexes), take(expected, indexes)
                )
            except KvwrapError as error:
                if len(keys) > 1:
                    add_succeeded(error, keys, [keys[index] for index in indexes_of(written)])
                raise
            for index, flag in zip(indexes, flags, strict=True):
                written[index] = flag
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._lock(collection, keys):
            if expected is None:
                return await self._remove(collection, keys)
            removed = [False] * len(keys)
            compared = [index for index, version in enumerate(expected) if type(version) is int]
            anything = [index for index, version in enumerate(expected) if version is None]
            if compared:
                flags = await self._compare_and_write(
                    collection,
                    take(keys, compared),
                    await in_slices(lambda _: self._dates.tombstone(self._tombstone_ttl), compared),
                    take(expected, compared),
                )
                for index, flag in zip(compared, flags, strict=True):
                    removed[index] = flag
            if anything:
                flags = await self._remove(collection, take(keys, anything))
                for index, flag in zip(anything, flags, strict=True):
                    removed[index] = flag
            return removed

    async def _remove(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        names = list(dict.fromkeys(keys))
        tombstones = await in_slices(lambda _: self._dates.tombstone(self._tombstone_ttl), names)
        replaced = await self._writer.write(collection, names, tombstones)
        found = await in_slices(self._dates.visible, replaced)
        existed = {key: entry is not None for key, entry in zip(names, found, strict=True)}
        return first_of_each(keys, [existed[key] for key in keys])

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await touch_by_writing(self, collection, keys, expires, _renewed, owner=self.name)

    def _lock(
        self, collection: Collection, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[object]:
        return self._locks.hold_keys(collection, keys)

    # -- enumerating, and whole collections --------------------------------------------

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            cursor = await self._quorum.list_keys(collection, key_range, self._read_quorum)
        assert isinstance(cursor, MergeCursor)
        page = await cursor.page()
        entries = await self.read(collection, page.keys) if page.keys else []
        live = [key for key, entry in zip(page.keys, entries, strict=True) if entry is not None]
        return Page(live, page.cursor)

    async def list_collections(self) -> list[Collection]:
        # A collection may hold only tombstones.
        return [
            name
            for name in await self._quorum.list_collections(self._read_quorum)
            if await holds_any(self, name)
        ]

    async def drop(self, collection: Collection) -> bool:
        can_list = Capability.KEYS in self.capabilities
        existed = await holds_any(self, collection) if can_list else None
        calls = (replica.store.drop(collection) for replica in self._quorum.replicas)
        # This leaves no tombstones, so every replica has to take it.
        dropped = await self._quorum.drop_everywhere(calls)
        return any(dropped) if existed is None else existed

    async def drop_all(self) -> bool:
        can_list = Capability.COLLECTIONS in self.capabilities
        collections = await self.list_collections() if can_list else None
        dropped = await self._quorum.drop_everywhere(
            replica.store.drop_all() for replica in self._quorum.replicas
        )
        return any(dropped) if collections is None else bool(collections)

    async def sweep(self) -> None:
        await gather(
            [
                replica.store.sweep()
                for replica in self._quorum.replicas
                if Capability.CULL in replica.store.capabilities
            ]
        )

    async def ping(self) -> None:
        calls = [(replica, replica.store.ping) for replica in self._quorum.replicas]
        await self._quorum.call_quorum(max(self._read_quorum, self._write_quorum), calls)

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        def tell(change: Change) -> None:
            # Replicas keep removals as tombstones, and expired entries for a while.
            names = (change.collection, change.key)
            listener(change if change.key is None else Change(ChangeKind.CHANGED, *names))

        stores = [(replica.store, tell) for replica in self._quorum.replicas]
        return await subscribe_all(stores, scope, self.clock, needed=1)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        origins: list[Origin] = []
        for replica in self._quorum.replicas:
            origins += replica.store.trace(collection, key)
        return tuple(origins)

    async def repair_all(self) -> int:
        """Bring every replica up to date with all others. Returns the number of replaced copies.

        It may be stopped at any moment and started again, while the store is in use.

        Raises:
            StoreUnavailable: A replica does not answer.
            UnsupportedOperation: A replica cannot enumerate its keys or collections.
        """
        repaired = 0
        count = len(self._quorum.replicas)
        for collection in await self._quorum.list_collections(count):
            cursor: object = await self._quorum.list_keys(collection, KeyRange(), count)
            while isinstance(cursor, MergeCursor):
                page = await cursor.page()
                if page.keys:
                    _, replaced = await self._quorum.read_newest(
                        collection, page.keys, count, repair=True
                    )
                    repaired += replaced
                cursor = page.cursor
        return repaired

    # -- findings ----------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from layer_under_one_store(self, below)
        count = len(self._quorum.replicas)
        if self._read_quorum + self._write_quorum <= count:
            yield Finding(
                "quorums-do-not-overlap",
                f"With write_quorum={self._write_quorum} and read_quorum={self._read_quorum} of "
                f"{count} replicas, a read may miss an acknowledged write.",
                f"Let the two add up to {count + 1} or more.",
            )


def _renewed(entry: Entry, expires_at: float | None) -> Entry:
    return entry.with_expiry(expires_at, new_version())
