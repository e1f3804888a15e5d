"""Entries distributed over several stores by the hash of their key."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.layers.base import (
    Capability,
    Collection,
    Entry,
    Expected,
    KeyedLocks,
    KeyRange,
    Page,
    Partitioning,
    Passage,
    Primitives,
    StoreSource,
    SubBatch,
    checked_names,
    checked_sources,
    gather,
    in_slices,
    new_version,
    pages,
    take,
    touch_by_writing,
)
from kvwrap.layers.sharding import moving
from kvwrap.layers.sharding.moving import is_claim
from kvwrap.layers.sharding.rendezvous import Rendezvous


class Sharding(Partitioning):
    """Keeps each entry in one of several stores, chosen by hashing its collection and key.

    The store under the stack is a shard like the others. Entries belong to the names of the
    shards (rendezvous hashing). A name must never change; a shard may move to another address.

    To add a shard, name it in `shards` and list the shards before the change in `previous`.
    Reads then ask the new owner first and the previous one second. Writes move the entry to its
    new owner first. `find(Sharding).rebalance()` moves all entries that are still with a previous
    owner. When it has ended, drop `previous`. To remove a shard, list it in `retired` too, until
    it is empty.

    Args:
        shards: The other stores by name; in a sequence their names are "1", "2", ….
        name: The name of the shard under the stack.
        previous: Names of the shards that held the entries before a change.
        retired: Names of shards that own no keys any more.

    Raises:
        ConfigurationError: There are no other shards, a name is duplicate or unknown, or a
            shard cannot compare versions while `previous` is set.
    """

    passage = Passage(read="goes to the shard that the hash of its key chooses", inner="own shard")
    traits: ClassVar[frozenset[str]] = frozenset({"spreads"})

    def __init__(
        self,
        shards: Mapping[str, StoreSource] | Sequence[StoreSource],
        *,
        name: str = "0",
        previous: Sequence[str] | None = None,
        retired: Sequence[str] = (),
    ) -> None:
        if not isinstance(shards, Mapping | list | tuple) or not shards:
            raise ConfigurationError(
                "`shards` must be a mapping such as {'b': store}, or a sequence of stores, with "
                f"at least one; got {type(shards).__name__ if shards else repr(shards)}"
            )
        if not isinstance(shards, Mapping):
            shards = {str(number): shard for number, shard in enumerate(shards, 1)}
        names: list[str] = [name, *shards]
        if len(checked_names(names, "names of shards")) > len(set(names)):
            raise ConfigurationError(
                f"every shard must have its own name; got {names!r}, of which the first is `name`: "
                "rename one"
            )
        for given, argument in ((previous or (), "previous"), (retired, "retired")):
            if not set(checked_names(given, argument)) <= set(names):
                raise ConfigurationError(
                    f"`{argument}` must list names out of {names!r}; got {given!r}: correct the "
                    "name, or add the shard to `shards`"
                )
        if previous is not None and not previous:
            raise ConfigurationError(
                "`previous` must list at least one shard; got an empty sequence: leave it out if "
                "the shards have not changed"
            )
        if retired and previous is None:
            raise ConfigurationError(
                "`retired` needs `previous`, because a retired shard still holds entries; list "
                "the shards before the change in `previous`"
            )
        owners = [shard for shard in names if shard not in retired]
        if not owners:
            raise ConfigurationError(
                f"at least one shard must own keys; got retired={retired!r}, which are all: keep "
                "one"
            )
        self._sources = checked_sources(shards, "shards")
        self._name = name
        self._owners = Rendezvous(owners)
        self._previous = frozenset(previous or names)
        self._previous_owners = None if previous is None else Rendezvous(previous)
        self._shards: dict[str, Primitives] = {}
        # Moves of one key by this process take turns, instead of competing for it.
        self._locks = KeyedLocks()

    def on_bind(self) -> None:
        self._shards = {self._name: self.inner}
        for name, source in self._sources.items():
            self._shards[name] = self.second(f"shard {name!r}", source)
        if self._previous_owners is not None:
            for name, store in self._shards.items():
                if Capability.COMPARE_AND_PUT not in store.capabilities:
                    raise ConfigurationError(
                        "with `previous`, every shard must be able to compare versions "
                        f"(COMPARE_AND_PUT), so that entries are moved safely; shard {name!r} "
                        "cannot: use another store for it",
                        store=self.name,
                    )

    @property
    def stores(self) -> Sequence[Primitives]:
        return tuple(self._shards.values())

    @property
    def idle(self) -> bool:
        """True while no entry is being moved, or looked for with its previous owner by a write."""
        return not self._locks

    def shard_of(self, key: str, *, collection: Collection = None) -> str:
        """Return the name of the shard that owns this key."""
        return self._owners.owner(collection, key)

    def store_for(self, collection: Collection, key: str) -> Primitives:
        return self._shards[self._owners.owner(collection, key)]

    def reads_from(self, store: Primitives, collection: Collection, key: str) -> bool:
        return self.store_for(collection, key) is store or (
            self._previous_owners is not None and self._previous_store(collection, key) is store
        )

    # -- while entries move ------------------------------------------------------------

    def _previous_store(self, collection: Collection, key: str) -> Primitives:
        assert self._previous_owners is not None
        return self._shards[self._previous_owners.owner(collection, key)]

    async def _partition_by_previous(
        self, collection: Collection, keys: Sequence[str], indexes: Sequence[int]
    ) -> list[SubBatch]:
        """Split the keys at these indexes by previous owner; leave out keys whose owner stays."""
        by_store: dict[int, tuple[Primitives, list[int]]] = {}

        def assign(index: int) -> None:
            store = self._previous_store(collection, keys[index])
            if store is not self.store_for(collection, keys[index]):
                by_store.setdefault(id(store), (store, []))[1].append(index)

        await in_slices(assign, indexes)
        return list(by_store.values())

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if self._previous_owners is None:
            return await super().read(collection, keys)
        entries = await self._read_owners(collection, keys)
        missing = [index for index, entry in enumerate(entries) if entry is None]
        sub_batches = await self._partition_by_previous(collection, keys, missing)
        for store, indexes in sub_batches:
            previous = await store.read(collection, take(keys, indexes))
            for index, entry in zip(indexes, previous, strict=True):
                entries[index] = _unless_claim(entry)
        # An entry may have moved between the read of its new owner and that of the previous one.
        missing = [i for _, indexes in sub_batches for i in indexes if entries[i] is None]
        if missing:
            moved = await self._read_owners(collection, take(keys, missing))
            for index, entry in zip(missing, moved, strict=True):
                entries[index] = entry
        return entries

    async def _read_owners(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await in_slices(_unless_claim, await super().read(collection, keys))

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._previous_owners is None:
            return await super().write(collection, keys, entries, expected)
        await self._move_to_owners(collection, keys)

        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, list[bool]]:
            versions = None if expected is None else take(expected, indexes)
            return moving.write(
                store, collection, take(keys, indexes), take(entries, indexes), versions
            )

        return await self.scatter_gather(
            keys, await self.partition(collection, keys), call, changes=True
        )

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._previous_owners is None:
            return await super().remove(collection, keys, expected)
        await self._move_to_owners(collection, keys)
        if expected is not None:
            return await super().remove(collection, keys, expected)

        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, list[bool]]:
            return moving.remove(store, collection, take(keys, indexes))

        return await self.scatter_gather(
            keys, await self.partition(collection, keys), call, changes=True
        )

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        if self._previous_owners is None:
            return await super().touch(collection, keys, expires)
        return await touch_by_writing(self, collection, keys, expires, _renewed, owner=self.name)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        page = await super().list_keys(collection, key_range, cursor)
        if self._previous_owners is None or not page.keys:
            return page
        entries = await self.read(collection, page.keys)  # some may be claims
        existing = zip(page.keys, entries, strict=True)
        return Page([key for key, entry in existing if entry is not None], page.cursor)

    async def drop(self, collection: Collection) -> bool:
        dropped = await super().drop(collection)
        if self._previous_owners is not None:
            # What a move was copying meanwhile; its source is empty now.
            dropped |= await super().drop(collection)
        return dropped

    async def drop_all(self) -> bool:
        dropped = await super().drop_all()
        if self._previous_owners is not None:
            dropped |= await super().drop_all()
        return dropped

    async def _move_to_owners(self, collection: Collection, keys: Sequence[str]) -> None:
        """Move what previous owners have under these keys, before they are written."""
        names = list(dict.fromkeys(keys))
        try:
            for source, indexes in await self._partition_by_previous(
                collection, names, range(len(names))
            ):
                await self._move(source, collection, take(names, indexes))
        except KvwrapError as error:
            error.succeeded = () if len(keys) > 1 else None  # nothing is written yet
            raise

    async def _move(self, source: Primitives, collection: Collection, keys: Sequence[str]) -> int:
        """Move the entries that `source` has under these keys to their owners.

        Returns their number. Moves of one key by this process take turns.
        """
        async with self._locks.hold_keys(collection, keys):
            moves = [
                moving.move(source, target, collection, take(keys, indexes), self.clock)
                for target, indexes in await self.partition(collection, keys)
            ]
            return sum(await gather(moves))

    def _sources_of_moves(self) -> list[Primitives]:
        """Return the shards whose keys are listed to find those that are not with their owner."""
        return [
            shard
            for name, shard in self._shards.items()
            if name in self._previous or Capability.KEYS in shard.capabilities
        ]

    async def rebalance(self, *, progress: Callable[[int], None] | None = None) -> int:
        """Move every entry that is not with its owner. Returns the number of moved entries.

        It may be stopped at any moment and started again, while processes with the same
        `previous` use the store, and also if several of them do it: no write is lost, no delete
        undone, and nothing replaced by something older.

        Args:
            progress: Called after every page of keys with the number moved so far.

        Raises:
            UnsupportedOperation: A shard cannot enumerate its keys or collections. One that is
                not among `previous`, such as a new one behind `HashedKey`, need not do so.
            StoreUnavailable: A shard failed; the entries moved so far stay moved.
        """
        moved = 0
        for source in self._sources_of_moves():
            for collection in await source.list_collections():
                async for page in pages(source, collection):
                    away = [k for k in page.keys if self.store_for(collection, k) is not source]
                    if away:
                        moved += await self._move(source, collection, away)
                        if progress is not None:
                            progress(moved)
        return moved


def _unless_claim(entry: Entry | None) -> Entry | None:
    return None if is_claim(entry) else entry


def _renewed(entry: Entry, expires_at: float | None) -> Entry:
    return entry.with_expiry(expires_at, new_version())
