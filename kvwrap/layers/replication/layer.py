"""Every entry in several stores, so that some may fail."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import msgspec

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyedLocks,
    KeyRange,
    Layer,
    Page,
    Store,
    StoreSource,
    checked_count,
    checked_flag,
    checked_seconds,
    checked_sources,
    first_of_each,
    gather,
    holds_any,
    touch_by_writing,
)
from kvwrap.layers.replication.quorum import Quorum
from kvwrap.layers.replication.replica import Replica, is_tombstone, next_timestamp, tombstone
from kvwrap.layers.shared.findings import layer_under_one_store, plaintext_second_stores
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.merging import MergeCursor


class ReplicationSnapshot(msgspec.Struct, frozen=True):
    """What a `Replication` layer has met since it was made.

    Attributes:
        repaired: Copies replaced by a newer one.
        failures: Calls failed, by the replica's name.
    """

    repaired: int
    failures: dict[str, int]


class Replication(Layer):
    """Writes every entry to several stores, and reads it from one or more of them.

    The store that the stack is over is the first replica, "0", and the one that decides
    conditional writes. A write goes to all replicas at once and is acknowledged when all
    have answered and at least `write_quorum` have taken it; a write that fails may still be
    on some. A read asks `read_quorum` replicas, those in front first, and further ones where
    they fail; of several copies the one made last wins, and replicas that were behind are
    given it. With `read_quorum + write_quorum` above the number of replicas, a read sees
    every acknowledged write.

    A removed entry leaves a tombstone for `tombstone_ttl`, so that a replica which missed
    the removal does not bring the entry back. A replica that was away for longer is to be
    emptied before it comes back. After `failures` in a row a replica is left alone for
    `open_for` seconds.

    Args:
        replicas: The other stores, by name or in a sequence ("1", "2", …).
        write_quorum: How many replicas must take a write; all if left out.
        read_quorum: How many replicas a read asks.
        repair: Whether replicas that are behind are given what a read found elsewhere.
        tombstone_ttl: How long removals are remembered, seconds.
        failures: After how many failures in a row a replica is left alone.
        open_for: For how long, seconds.

    Raises:
        ConfigurationError: There are no other replicas, or a quorum is above their number.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"spreads"})
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
            raise ConfigurationError("replicas are stores, at least one besides the inner")
        if not isinstance(replicas, Mapping):
            replicas = {str(place): source for place, source in enumerate(replicas, 1)}
        if "0" in replicas:
            raise ConfigurationError("the replica '0' is the store that the stack is over")
        count = len(replicas) + 1
        self._write_quorum = count if write_quorum is None else write_quorum
        self._read_quorum = read_quorum
        for name in ("write_quorum", "read_quorum"):
            quorum = checked_count(getattr(self, f"_{name}"), name)
            if quorum > count:
                raise ConfigurationError(f"{name}={quorum} is above the {count} replicas there are")
        self._sources = checked_sources(replicas, "replicas")
        self._repair = checked_flag(repair, "repair")
        self._tombstone_ttl = checked_seconds(tombstone_ttl, "tombstone_ttl")
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")

    def on_bind(self) -> None:
        stores = {"0": self.inner}
        for name, source in self._sources.items():
            stores[name] = self.second(f"replica {name!r}", source)
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
            )
            for name, store in stores.items()
        ]
        self._replicas = Quorum(
            replicas,
            owner=self.name,
            read_quorum=self._read_quorum,
            write_quorum=self._write_quorum,
        )
        # Writes of one key reach every replica in the same order.
        self._order = KeyedLocks()

    def snapshot(self) -> ReplicationSnapshot:
        """Counts, as they are now."""
        return ReplicationSnapshot(
            self._replicas.repaired,
            {replica.name: replica.failures for replica in self._replicas.all},
        )

    @property
    def capabilities(self) -> Capabilities:
        """What every replica can do; the first one alone compares versions."""
        return self._replicas.capabilities

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return [
            None if entry is None or is_tombstone(entry) else entry
            for entry in await self._newest(collection, keys)
        ]

    async def _newest(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._replicas.newest(collection, keys, self._read_quorum, repair=self._repair)

    # -- writing -----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            if expected is not None:
                return await self._replicas.compare(collection, keys, entries, expected)
            await self._replicas.write(collection, keys, entries)
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            found = await self._newest(collection, keys)
            now = self.clock.time()
            stones = [tombstone(entry, now, self._tombstone_ttl) for entry in found]
            if expected is not None:
                return await self._replicas.compare(collection, keys, stones, expected)
            await self._replicas.write(collection, keys, stones)
        return first_of_each(
            keys, [entry is not None and not is_tombstone(entry) for entry in found]
        )

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        def renewed(entry: Entry, expires_at: float | None) -> Entry:
            made = next_timestamp(entry, self.clock.time())
            return Entry(entry.body, entry.codec, made, expires_at, random.getrandbits(64))

        return await touch_by_writing(self, collection, keys, expires, renewed, owner=self.name)

    def _in_order(
        self, collection: Collection, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[None]:
        # Sorted, so that no two batches wait for one another.
        return self._order.hold_all((collection, key) for key in sorted(set(keys)))

    # -- enumerating, and whole collections --------------------------------------------

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            cursor = await self._replicas.listing(collection, key_range, self._read_quorum)
        assert isinstance(cursor, MergeCursor)
        page = await cursor.page()
        entries = await self.read(collection, page.keys) if page.keys else []
        live = [key for key, entry in zip(page.keys, entries, strict=True) if entry is not None]
        return Page(live, page.cursor)

    async def list_collections(self) -> list[Collection]:
        # A collection may have nothing but tombstones.
        return [
            name
            for name in await self._replicas.collections(self._read_quorum)
            if await holds_any(self, name)
        ]

    async def drop(self, collection: Collection) -> bool:
        held = await holds_any(self, collection) if Capability.KEYS in self.capabilities else None
        calls = (replica.store.drop(collection) for replica in self._replicas.all)
        # No tombstones are left behind here, so every replica has to take it.
        dropped = await self._replicas.everywhere(calls)
        return any(dropped) if held is None else held

    async def drop_all(self) -> bool:
        listed = Capability.COLLECTIONS in self.capabilities
        held = await self.list_collections() if listed else None
        dropped = await self._replicas.everywhere(
            replica.store.drop_all() for replica in self._replicas.all
        )
        return any(dropped) if held is None else bool(held)

    async def sweep(self) -> None:
        await gather(
            [
                replica.store.sweep()
                for replica in self._replicas.all
                if Capability.CULL in replica.store.capabilities
            ]
        )

    async def ping(self) -> None:
        calls = [(replica, replica.store.ping) for replica in self._replicas.all]
        await self._replicas.answers(max(self._read_quorum, self._write_quorum), calls)

    async def repair_all(self) -> int:
        """Bring every replica up to date with all others; how many copies were replaced.

        It may be stopped at any moment and begun again, while the store is in use.

        Raises:
            StoreUnavailable: A replica does not answer.
            UnsupportedOperation: A replica cannot enumerate its keys or collections.
        """
        before = self._replicas.repaired
        everyone = len(self._replicas.all)
        for collection in await self._replicas.collections(everyone):
            place: object = await self._replicas.listing(collection, KeyRange(), everyone)
            while isinstance(place, MergeCursor):
                page = await place.page()
                if page.keys:
                    await self._replicas.newest(collection, page.keys, everyone, repair=True)
                place = page.cursor
        return self._replicas.repaired - before

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from layer_under_one_store(self, below)
        count = len(self._replicas.all)
        if self._read_quorum + self._write_quorum <= count:
            yield Finding(
                "quorums-do-not-overlap",
                f"With write_quorum={self._write_quorum} and read_quorum={self._read_quorum} of "
                f"{count} replicas, a read may miss an acknowledged write.",
                f"Let the two add up to {count + 1} or more.",
            )
