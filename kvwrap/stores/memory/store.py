"""Entries in the memory of this process, and the limits on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import merge
from itertools import islice, repeat
from typing import Any, Self, TypeVar

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.figures import counter, gauge
from kvwrap.core.limits import Limits
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.ranges import matching
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.turns import SLICE, slices, turn
from kvwrap.core.validation import checked_count, checked_key
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.memory.quotas import CollectionTables
from kvwrap.stores.memory.record import entry_size, is_live
from kvwrap.stores.memory.simulation import EvictionSimulation
from kvwrap.stores.memory.table import Table
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.feed import Listeners

T = TypeVar("T")

Seed = Mapping[Collection, Mapping[str, Any]]


class MemoryStore(Store):
    """Keeps entries in memory, optionally with limits.

    Values are kept as bytes, so changing an object that was put or got does not change the
    store. When a limit is reached, expired entries are removed first, then those that S3-FIFO
    chooses: entries that were not used again soon after they were put, then those that were not
    used lately. Works in one event loop at a time; `kvwrap.sync` serves threads.

    Args:
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size in bytes of the values, as they are after the layers above;
            None for no limit. Keys, and about 420 bytes that each entry takes, are not counted: set
            `max_entries` too where values are small.
        max_entries_per_collection: Maximum number of entries of each collection, of which none
            evicts another's; instead of the two limits before.
        seed: Values that the store has from the start, by collection and key, without expiry; the
            default collection is `None`. They are put into this store, beneath all layers.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        ConfigurationError: A limit is not a positive integer, or two exclude each other.
        InvalidKey: A name in `seed` is not valid.
        SerializationError: A value in `seed` would not load unchanged.
        ValueTooLarge: From the methods, for an entry that alone is larger than `max_bytes`, and
            from the constructor for one of `seed`.
    """

    capabilities = OPERATIONS | {Capability.WATCH}
    data_arguments = frozenset({"seed"})
    figures = (
        gauge("entries", "{entry}", "Entries, expired ones included.", path="_table.count"),
        gauge("held", "By", "Bytes of the values, if they are limited.", path="_held"),
        gauge(
            "entries.limit",
            "{entry}",
            "Maximum number of entries, if there is one.",
            path="_max_entries",
        ),
        gauge("held.limit", "By", "Maximum number of bytes, if there is one.", path="_max_bytes"),
        counter("evictions", "{entry}", "Entries removed to keep a limit.", path="_table.evicted"),
    )

    def __init__(
        self,
        *,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        max_entries_per_collection: int | None = None,
        seed: Seed | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        limits = {
            "max_entries": max_entries,
            "max_bytes": max_bytes,
            "max_entries_per_collection": max_entries_per_collection,
        }
        for name, limit in limits.items():
            if limit is not None:
                checked_count(limit, name)
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._listeners = listeners = Listeners()
        self._table: Table | CollectionTables
        if max_entries_per_collection is None:
            self._table = Table(self.clock, max_entries, max_bytes, listeners)
        elif max_entries is None and max_bytes is None:
            self._table = CollectionTables(self.clock, max_entries_per_collection, listeners)
        else:
            raise ConfigurationError(
                "`max_entries_per_collection` must be the only limit; got also max_entries or "
                "max_bytes"
            )
        self._read = self._table.read
        self._write = self._table.write
        if type(self).look_up is MemoryStore.look_up:
            self.look_up = self._read  # type: ignore[method-assign]  # a call less
        for collection, values in _checked_seed(seed).items():
            self._plant(collection, values)

    def _plant(self, collection: Collection, values: Mapping[str, Any]) -> None:
        collection = self._collection_of(collection)
        now = self.clock.time()
        for key, value in values.items():
            entry = self._to_entry(value, None, now, collection, checked_key(key))
            if self._max_bytes is not None and entry_size(entry) > self._max_bytes:
                raise self._too_large(entry, collection, key)
            self._write(collection, key, entry, None)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `memory://`.

        Options: `max_entries`, `max_bytes`, `max_entries_per_collection`, `default_collection`.

        Raises:
            ConfigurationError: The URL has a host or a path, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "memory")
        if parts.netloc or parts.path:
            raise ConfigurationError(
                "the URL of a MemoryStore must have no host and no path, as in "
                "memory://?max_entries=1000"
            )
        limits = ("max_entries", "max_bytes", "max_entries_per_collection")
        known = dict.fromkeys(limits, urls.INTEGER) | {"default_collection": urls.TEXT}
        return cls(**urls.parse_options(parts.query, known))

    def __len__(self) -> int:
        """Return the number of entries, including expired ones that were not removed yet."""
        return self._table.count

    def __bool__(self) -> bool:
        """Return True, so that `near or default` does not skip a store because it is empty."""
        return True

    @property
    def size(self) -> int:
        """Total size of the values in bytes; 0 without `max_bytes`."""
        return self._table.size

    @property
    def _held(self) -> int | None:
        return None if self._max_bytes is None else self._table.size

    @property
    def limits(self) -> Limits | None:
        """What the whole store is bounded by; `None` without, or if each collection is."""
        if self._max_entries is None and self._max_bytes is None:
            return None
        return Limits(self._max_entries, self._max_bytes, EvictionSimulation)

    # -- reading -------------------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if {"read", "write", "remove"} & vars(cls).keys():  # theirs may wait
            for name in {"look_up", "write_one", "remove_one"} - vars(cls).keys():
                setattr(cls, name, None)

    def look_up(self, collection: Collection, key: str) -> Entry | None:
        """Return the unexpired entry of a key, as `read` does, without waiting."""
        return self._read(collection, key)

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if len(keys) == 1:
            return [self._read(collection, keys[0])]
        found: list[Entry | None] = []
        for part in slices(len(keys)):
            if part.start:
                await turn()
            found += [self._read(collection, key) for key in keys[part]]
        return found

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            cursor = Snapshot(await self._sorted_keys(collection, key_range))
        return Snapshot.page(cursor)

    async def _sorted_keys(self, collection: Collection, key_range: KeyRange) -> list[str]:
        parts = await self._by_parts(
            collection, lambda keys: sorted(key for key in keys if key in key_range)
        )
        if len(parts) == 1:
            return parts[0]
        keys: list[str] = []
        merged = merge(*parts)
        for part in slices(sum(map(len, parts))):
            await turn()
            keys += islice(merged, part.stop - part.start)
        return keys

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        counts = await self._by_parts(collection, lambda keys: len(matching(keys, key_range)))
        return sum(counts)

    async def _by_parts(self, collection: Collection, work: Callable[[list[str]], T]) -> list[T]:
        """Return the results of a function that is called with some keys at a time.

        It gets the keys that the collection has now, and which are live when it is called.
        """
        records = list(self._table.records.get(collection, {}).values())
        results: list[T] = []
        for part in slices(len(records)):
            if part.start:
                await turn()
            now = self.clock.time()
            keys = [record.key for record in records[part] if is_live(record.entry, now)]
            results.append(work(keys))
        return results

    async def list_collections(self) -> list[Collection]:
        await self.sweep()
        return sorted(self._table.records, key=lambda name: name or "")

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._max_bytes is not None:
            await self._check_sizes(collection, keys, entries, self._max_bytes)
        if len(keys) == 1:
            version = None if expected is None else expected[0]
            return [self._write(collection, keys[0], entries[0], version)]
        written: list[bool] = []
        for part in slices(len(keys)):
            if part.start:
                await turn()
            versions = [None] * len(keys[part]) if expected is None else expected[part]
            written += map(self._write, repeat(collection), keys[part], entries[part], versions)
        return written

    def write_one(self, collection: Collection, key: str, entry: Entry) -> None:
        """Write one entry, as `write` does, without waiting."""
        if self._max_bytes is not None and entry_size(entry) > self._max_bytes:
            raise self._too_large(entry, collection, key)
        self._write(collection, key, entry, None)

    def remove_one(self, collection: Collection, key: str) -> None:
        """Remove one entry, as `remove` does, without waiting."""
        self._table.delete(collection, key, None)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        removed: list[bool] = []
        for part in slices(len(keys)):
            if part.start:
                await turn()
            versions = repeat(None) if expected is None else expected[part]
            removed += map(self._table.delete, repeat(collection), keys[part], versions)
        return removed

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        def drop(keys: list[str]) -> int:
            delete = self._table.delete
            return sum(delete(collection, key, None) for key in matching(keys, key_range))

        return sum(await self._by_parts(collection, drop))

    async def drop(self, collection: Collection) -> bool:
        await self.sweep()
        dropped = self._table.drop(collection)
        await self.sweep()
        return dropped

    async def drop_all(self) -> bool:
        await self.sweep()
        dropped = self._table.drop_all()
        await self.sweep()
        return dropped

    async def sweep(self) -> None:
        while self._table.free(SLICE):
            await turn()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return self._listeners.add(scope, listener)

    async def teardown(self) -> None:
        await self._listeners.close()

    async def _check_sizes(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry], limit: int
    ) -> None:
        for part in slices(len(keys)):
            if part.start:
                await turn()
            for key, entry in zip(keys[part], entries[part]):
                if entry_size(entry) > limit:
                    raise self._too_large(entry, collection, key)

    def _too_large(self, entry: Entry, collection: Collection, key: str) -> ValueTooLarge:
        return ValueTooLarge(
            f"a value must not be larger than max_bytes={self._max_bytes}; got "
            f"{entry_size(entry)} bytes. Nothing was written",
            store=self.name,
            collection=collection,
            key=key,
        )


def _checked_seed(seed: object) -> Seed:
    """Return the seed, or raise ConfigurationError if it has not the form of one."""
    if seed is None:
        return {}
    if not isinstance(seed, Mapping) or any(
        not isinstance(values, Mapping) for values in seed.values()
    ):
        raise ConfigurationError(
            "`seed` must have a mapping of keys to values for each collection, as in "
            '{"users": {"ada": {"visits": 1}}}; got something else'
        )
    return seed
