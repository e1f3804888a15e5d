"""Entries spread over several stores by the hash of their key."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.layers.base import (
    ABSENT,
    Capability,
    Collection,
    Entry,
    Expected,
    KeyedLocks,
    Partitioning,
    Primitives,
    StoreSource,
    SubBatch,
    add_succeeded,
    checked_names,
    checked_sources,
    indexes_of,
    pages,
    take,
)
from kvwrap.layers.sharding.rendezvous import Rendezvous

_ENTRIES = "entries"


class Sharding(Partitioning):
    """Keeps each entry in one of several stores, chosen by hashing its collection and key.

    The store that the stack is over is a shard like the others. Entries belong to shards by
    the shards' names (rendezvous hashing), so names must stay as they are, while stores may
    move to other addresses.

    To add a shard, name it and say in `previous` which shards there were: reads look at the
    new owner first and then at the previous one, writes go to the new owner, and
    `find(Sharding).rebalance()` moves what is left. When it has ended, drop `previous`. To
    take a shard away, list it in `retired` too, until it is empty.

    Args:
        shards: The other stores by name; in a sequence their names are "1", "2", ….
        name: The name of the shard that the stack is over.
        previous: The names of the shards that held the entries before a change.
        retired: Names of shards that no entry belongs to any more.

    Raises:
        ConfigurationError: There are no other shards, a name is there twice or unknown, or
            a shard cannot compare versions while there is `previous`.
    """

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
            raise ConfigurationError("shards are stores by name, at least one besides the inner")
        if not isinstance(shards, Mapping):
            shards = {str(place): shard for place, shard in enumerate(shards, 1)}
        names: list[str] = [name, *shards]
        if len(checked_names(names, "names of shards")) > len(set(names)):
            raise ConfigurationError(f"every shard has a name of its own, unlike {names!r}")
        for given, what in ((previous or (), "previous"), (retired, "retired")):
            if not set(checked_names(given, what)) <= set(names):
                raise ConfigurationError(f"{what} lists names of shards out of {names!r}")
        if previous is not None and not previous:
            raise ConfigurationError("previous lists the shards there were, at least one")
        if retired and previous is None:
            raise ConfigurationError("a retired shard holds entries still: list it in previous")
        owners = [each for each in names if each not in retired]
        if not owners:
            raise ConfigurationError("at least one shard is not retired")
        self._sources = checked_sources(shards, "shards")
        self._name = name
        self._owners = Rendezvous(owners)
        self._previous = None if previous is None else Rendezvous(previous)
        self._shards: dict[str, Primitives] = {}
        # While entries move: moving one and deleting it must not overlap, or it comes back.
        self._moving = KeyedLocks()

    def on_bind(self) -> None:
        self._shards = {self._name: self.inner}
        for name, source in self._sources.items():
            self._shards[name] = self.second(f"shard {name!r}", source)
        if self._previous is not None:
            for name, store in self._shards.items():
                if Capability.COMPARE_AND_PUT not in store.capabilities:
                    raise ConfigurationError(
                        f"entries cannot move safely to or from shard {name!r}, which cannot "
                        "compare versions",
                        store=self.name,
                    )

    @property
    def stores(self) -> Sequence[Primitives]:
        return tuple(self._shards.values())

    def shard_of(self, key: str, *, collection: Collection = None) -> str:
        """The name of the shard that this key belongs to."""
        return self._owners.owner(collection, key)

    def store_for(self, collection: Collection, key: str) -> Primitives:
        return self._shards[self._owners.owner(collection, key)]

    def reads_from(self, store: Primitives, collection: Collection, key: str) -> bool:
        return self.store_for(collection, key) is store or (
            self._previous is not None and self._before(collection, key) is store
        )

    # -- while entries move ------------------------------------------------------------

    def _before(self, collection: Collection, key: str) -> Primitives:
        assert self._previous is not None
        return self._shards[self._previous.owner(collection, key)]

    def _parts_before(
        self, collection: Collection, keys: Sequence[str], places: Sequence[int]
    ) -> list[SubBatch]:
        """The keys at these places that had another owner, by that one."""
        found: dict[int, tuple[Primitives, list[int]]] = {}
        for place in places:
            store = self._before(collection, keys[place])
            if store is not self.store_for(collection, keys[place]):
                found.setdefault(id(store), (store, []))[1].append(place)
        return list(found.values())

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await super().read(collection, keys)
        if self._previous is None:
            return found
        found = list(found)
        missing = [place for place, entry in enumerate(found) if entry is None]
        parts = self._parts_before(collection, keys, missing)
        for store, places in parts:
            for place, entry in zip(
                places, await store.read(collection, take(keys, places)), strict=True
            ):
                found[place] = entry
        # What moved after its new owner was asked and before the previous one was.
        moved = [place for _, places in parts for place in places if found[place] is None]
        if moved:
            again = await super().read(collection, take(keys, moved))
            for place, entry in zip(moved, again, strict=True):
                found[place] = entry
        return found

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._previous is None:
            return await super().write(collection, keys, entries, expected)
        if expected is not None:
            await self._bring(collection, keys)
            return await super().write(collection, keys, entries, expected)
        try:
            written = await super().write(collection, keys, entries, None)
        except KvwrapError as error:
            await self._remove_before(collection, error.succeeded or ())
            raise
        # A copy left behind would be read again once the new one has expired.
        await self._remove_before(collection, keys)
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._previous is None:
            return await super().remove(collection, keys, expected)
        if expected is not None:
            await self._bring(collection, keys)
            return await super().remove(collection, keys, expected)
        async with self._moving.hold(_ENTRIES):
            try:
                there = await self._remove_before(collection, keys)
            except KvwrapError as error:
                error.succeeded = ()  # where the keys belong now, they are still
                raise
            removed = await super().remove(collection, keys, None)
        return [a or b for a, b in zip(there, removed, strict=True)]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        if self._previous is not None:
            await self._bring(collection, keys)
        return await super().touch(collection, keys, expires)

    async def _remove_before(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        removed = [False] * len(keys)
        parts = self._parts_before(collection, keys, range(len(keys)))
        left = {keys[place] for _, places in parts for place in places}
        for store, places in parts:
            try:
                outcome = await store.remove(collection, take(keys, places), None)
            except KvwrapError as error:
                add_succeeded(error, keys, [key for key in keys if key not in left])
                raise
            for place, was in zip(places, outcome, strict=True):
                removed[place] = was
                left.discard(keys[place])
        return removed

    async def _bring(self, collection: Collection, keys: Sequence[str]) -> None:
        """Have these keys with their new owners, before something depends on what is there."""
        async with self._moving.hold(_ENTRIES):
            for store, places in self._parts_before(collection, keys, range(len(keys))):
                await self._move(store, collection, take(keys, places))

    async def _move(self, source: Primitives, collection: Collection, keys: Sequence[str]) -> int:
        """Move those of these keys that `source` has to where they belong; how many it had."""
        held = {
            key: entry
            for key, entry in zip(keys, await source.read(collection, keys), strict=True)
            if entry is not None
        }
        if not held:
            return 0
        names = list(held)

        def call(target: Primitives, places: Sequence[int]) -> Coroutine[Any, Any, list[bool]]:
            mine = [names[place] for place in places]
            return _copy(target, collection, mine, [held[key] for key in mine])

        await self.scatter_gather(names, self.partition(collection, names), call, changes=True)
        # Only after the copy is there, and only what was copied: an interruption leaves both.
        await source.remove(collection, names, [held[key].version for key in names])
        return len(names)

    async def rebalance(self, *, progress: Callable[[int], None] | None = None) -> int:
        """Move every entry that lies in another shard than it belongs to; how many were moved.

        It may be stopped at any moment and begun again, while the store is in use. What is
        read, written and deleted meanwhile stays right, but let one process do it: a delete
        in another, at the very moment in which the entry moves, may be undone.

        Args:
            progress: Called after every page of keys with the number moved so far.

        Raises:
            UnsupportedOperation: A shard cannot enumerate its keys or collections.
            StoreUnavailable: A shard failed; what has been moved stays moved.
        """
        moved = 0
        for source in self.stores:
            for collection in await source.list_collections():
                async for page in pages(source, collection):
                    away = [k for k in page.keys if self.store_for(collection, k) is not source]
                    if away:
                        async with self._moving.hold(_ENTRIES):
                            moved += await self._move(source, collection, away)
                        if progress is not None:
                            progress(moved)
        return moved


async def _copy(
    target: Primitives, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
) -> list[bool]:
    """Put entries where there are none, or older ones, atomically each."""
    put = await target.write(collection, keys, entries, [ABSENT] * len(keys))
    rest = indexes_of([not done for done in put])
    if rest:
        there = await target.read(collection, take(keys, rest))
        older = [
            (place, found.version)
            for place, found in zip(rest, there, strict=True)
            if found is not None and found.created_at < entries[place].created_at
        ]
        if older:
            places = [place for place, _ in older]
            await target.write(
                collection,
                take(keys, places),
                take(entries, places),
                [version for _, version in older],
            )
    return put
