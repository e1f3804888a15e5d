"""The dictionaries of one running compression layer: those loaded, and each collection's primary.

The life cycle of a dictionary: `train` stores it and makes it the collection's primary, which new
entries are compressed with. The previous primary is *retired*: its record is marked with the time.
Processes stop writing with it when they look again, which each does at least every `refresh`
seconds, and continue to read with it. `prune` deletes a dictionary that was retired long enough
ago and that no entry of the store uses, and only if its record still has the version that `prune`
read. Making a dictionary primary again gives its record a new version first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from kvwrap.core import codec
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.threads import run_in_thread
from kvwrap.errors import CorruptEntry
from kvwrap.layers.compression.algorithms.zstd import Zstd
from kvwrap.layers.compression.records import (
    RESERVED,
    DictionaryRecord,
    DictionaryStore,
    PrimaryRecord,
    dictionary_id,
    dictionary_key,
    primary_key,
)
from kvwrap.layers.compression.training import train_dictionary

_MAX_COLLECTIONS = 10_000
MAX_LOADED = 32 * 2**20
"""Bytes of dictionaries that are kept in memory, and that the entries of one batch may need."""


class DictionaryInfo(msgspec.Struct, frozen=True):
    """A dictionary, without its content.

    Attributes:
        id: Id that entries name it by, in hex.
        collection: Collection that was asked about; None is the default collection.
        created_at: Time of its training, in Unix seconds.
        size: Size in bytes.
        samples: Number of values that it was trained and measured on.
        ratio: Size of values compressed with it, divided by their size compressed without it.
        primary: True if new entries of the collection asked about are compressed with it.
        retired_at: Time since which new entries are not compressed with it, in Unix seconds;
            None if it is in use.
    """

    id: str
    collection: Collection
    created_at: float
    size: int
    samples: int
    ratio: float
    primary: bool
    retired_at: float | None


class Pruned(msgspec.Struct, frozen=True):
    """The retired dictionaries that `prune` found, by id in hex.

    Attributes:
        deleted: Dictionaries that were deleted.
        in_use: Number of entries that use each dictionary that was retired long enough ago.
        waiting: Dictionaries that were retired too recently to be deleted.
    """

    deleted: tuple[str, ...]
    in_use: dict[str, int]
    waiting: tuple[str, ...]


class LoadedDictionary(Zstd):
    """A dictionary ready for use.

    Attributes:
        step: The step that stands for it in the codec of entries.
        size: Size of the dictionary in bytes.
    """

    def __init__(self, identity: bytes, dictionary: bytes, level: int | None) -> None:
        super().__init__(level, dictionary)
        self.step = codec.step(codec.ZSTD_DICTIONARY, identity)
        self.size = len(dictionary)


class Dictionaries:
    """Loads, trains, retires and deletes dictionaries.

    Args:
        inner: The part inside the compression layer.
        clock: Source of the time.
        level: Level of zstd; None for its default.
        refresh: Seconds after which the primary of a collection is looked up again.

    Attributes:
        loaded: Dictionaries ready for use, by id, the one needed last at the end. Together they
            have at most `MAX_LOADED` bytes.
        primaries: Dictionary that each collection is written with, as it was last looked up.
            Collections without one are not in it.
    """

    def __init__(self, inner: Primitives, clock: Clock, level: int | None, refresh: float) -> None:
        self.loaded: dict[bytes, LoadedDictionary] = {}
        self.primaries: dict[Collection, LoadedDictionary] = {}
        self._inner = inner
        self._clock = clock
        self._level = level
        self._refresh_interval = refresh
        self._store = DictionaryStore(inner)
        self._looked_up_at: dict[Collection, float] = {}
        self._locks = KeyedLocks()

    @property
    def idle(self) -> bool:
        """True while no primary is being looked up."""
        return not self._locks

    async def refresh(self, collection: Collection) -> None:
        """Look up the collection's primary, unless that was done within `refresh` seconds."""
        if not self._is_fresh(collection):
            async with self._locks.hold(collection, shares_errors=True):
                if not self._is_fresh(collection):
                    await self._look_up_primary(collection)

    def _is_fresh(self, collection: Collection) -> bool:
        looked_up_at = self._looked_up_at.get(collection)
        return (
            looked_up_at is not None
            and self._clock.monotonic() - looked_up_at < self._refresh_interval
        )

    async def _look_up_primary(self, collection: Collection) -> None:
        started_at = self._clock.monotonic()
        primary = await self._store.read_primary(collection)
        current = None if primary is None else primary.current
        if current is not None:
            await self.load((current,))
        loaded = None if current is None else self.loaded.get(current)
        self._set_primary(collection, loaded, started_at)

    def _set_primary(
        self, collection: Collection, primary: LoadedDictionary | None, looked_up_at: float
    ) -> None:
        if len(self._looked_up_at) >= _MAX_COLLECTIONS:
            self._looked_up_at.clear()
            self.primaries.clear()
        if primary is None:
            self.primaries.pop(collection, None)
        else:
            self.primaries[collection] = primary
        self._looked_up_at[collection] = looked_up_at

    def get(self, identity: bytes) -> LoadedDictionary:
        """Return a loaded dictionary; raises `CorruptEntry` if it is not loaded."""
        dictionary = self.loaded.pop(identity, None)
        if dictionary is None:
            raise CorruptEntry(
                f"the entry needs the compression dictionary {identity.hex()}, which the "
                f"collection {RESERVED!r} of its store does not hold: it was deleted, or the entry "
                "was copied from another store. Copy the dictionary from there, or restore a backup"
            )
        self.loaded[identity] = dictionary
        return dictionary

    async def load(self, identities: Iterable[bytes]) -> None:
        """Load the dictionaries of these ids. Those that are not stored stay missing.

        Dictionaries that were not needed for the longest time leave the memory.

        Raises:
            CorruptEntry: Together they have more than `MAX_LOADED` bytes.
        """
        needed, size = {}, 0
        for identity in identities:
            dictionary = self.loaded.get(identity)
            if dictionary is None:
                # One at a time: together they might not fit into memory.
                records = await self._store.read_dictionaries([identity])
                if identity not in records:
                    continue
                content = records.pop(identity).dictionary
                dictionary = LoadedDictionary(identity, content, self._level)
            needed[identity] = dictionary
            size += dictionary.size
            if size > MAX_LOADED:
                raise CorruptEntry(
                    f"the entries of a batch must need at most {MAX_LOADED} bytes of compression "
                    "dictionaries; these need more: read fewer at once",
                    store=self._inner.name,
                )
        self._keep(needed)

    def _keep(self, needed: dict[bytes, LoadedDictionary]) -> None:
        """Keep these dictionaries, and as many of the others as fit."""
        for identity in needed:
            self.loaded.pop(identity, None)
        self.loaded.update(needed)
        size = sum(dictionary.size for dictionary in self.loaded.values())
        while size > MAX_LOADED:
            evicted = self.loaded.pop(next(iter(self.loaded)))
            size -= evicted.size
            for collection in [name for name, one in self.primaries.items() if one is evicted]:
                del self.primaries[collection], self._looked_up_at[collection]

    async def train(
        self, collection: Collection, samples: list[bytes], size: int
    ) -> DictionaryInfo:
        """Train on these samples, store the dictionary, and make it the collection's primary."""
        level = Zstd.default if self._level is None else self._level
        # In a thread, since it takes tens of milliseconds. If it is cancelled, nothing is stored.
        dictionary, ratio = await run_in_thread(train_dictionary, samples, size, level)
        identity, now = dictionary_id(dictionary), self._clock.time()
        record = DictionaryRecord(dictionary, now, len(samples), ratio)
        # From put_dictionary() on, the order loses nothing wherever it is interrupted: a dictionary
        # is stored before anything refers to it, and is marked as retired before another one
        # becomes primary.
        await self._store.check_durable()
        record = await self._store.put_dictionary(identity, record, now)
        self._keep({identity: LoadedDictionary(identity, dictionary, self._level)})
        await self._make_primary(collection, identity)
        # Once more, for a `prune` that read the record before anything referred to it: it either
        # finds another version than it read and deletes nothing, or it has already deleted the
        # record, and this restores it.
        await self._store.put_dictionary(identity, record, now)
        return self._info(collection, identity, record, identity)

    async def retire(self, collection: Collection) -> bool:
        """Remove the primary of this collection. Returns True if it had one."""
        return await self._make_primary(collection, None)

    async def _make_primary(self, collection: Collection, identity: bytes | None) -> bool:
        """Replace the primary of a collection; None removes it. Returns True if it had one."""
        now, started_at = self._clock.time(), self._clock.monotonic()
        previous = await self._store.read_primary(collection)
        current = None if previous is None else previous.current
        if current is not None and current != identity:
            await self._mark_retired(current, now)

        def replaced(old: PrimaryRecord | None) -> PrimaryRecord | None:
            old = old or PrimaryRecord()
            if old.current == identity:
                return None
            known = old.all if identity is None or identity in old.all else (*old.all, identity)
            return PrimaryRecord(identity, known)

        await self._store.update(primary_key(collection), PrimaryRecord, replaced, now)
        # None also if it has left the memory meanwhile: the next write looks it up.
        loaded = None if identity is None else self.loaded.get(identity)
        self._set_primary(collection, loaded, started_at)
        return current is not None

    async def _mark_retired(self, identity: bytes, now: float) -> None:
        change = partial(_retired, now=now)
        await self._store.update(dictionary_key(identity), DictionaryRecord, change, now)

    async def history(self, collection: Collection) -> list[DictionaryInfo]:
        """Read which dictionaries this collection has had, oldest first."""
        primary = await self._store.read_primary(collection)
        if primary is None:
            return []
        records = await self._store.read_dictionaries(primary.all)
        return [
            self._info(collection, identity, records[identity], primary.current)
            for identity in primary.all
            if identity in records
        ]

    @staticmethod
    def _info(
        collection: Collection, identity: bytes, record: DictionaryRecord, current: bytes | None
    ) -> DictionaryInfo:
        return DictionaryInfo(
            identity.hex(),
            collection,
            record.created_at,
            len(record.dictionary),
            record.samples,
            record.ratio,
            identity == current,
            None if identity == current else record.retired_at,
        )

    async def prune(self, grace: float) -> Pruned:
        """Delete what was retired at least `grace` seconds ago and is not used by any entry."""
        now = self._clock.time()
        records, primaries = await self._store.read_all()
        current = {primary.current for primary in primaries.values()}
        candidates: dict[bytes, int] = {}
        waiting = []
        for identity, (record, version) in records.items():
            if identity in current:
                continue
            if record.retired_at is None:
                # Left behind by an interrupted `train`, or about to become primary.
                await self._mark_retired(identity, now)
                waiting.append(identity)
            elif now - record.retired_at < grace:
                waiting.append(identity)
            else:
                candidates[identity] = version
        uses = await self._count_uses() if candidates else {}
        deleted = [
            identity
            for identity, version in candidates.items()
            if identity not in uses and await self._store.delete(identity, version)
        ]
        for key, primary in primaries.items():
            if removed := set(primary.all) & set(deleted):
                change = partial(_without, removed=removed)
                await self._store.update(key, PrimaryRecord, change, now)
        return Pruned(
            tuple(identity.hex() for identity in deleted),
            {identity.hex(): uses[identity] for identity in candidates if identity in uses},
            tuple(identity.hex() for identity in waiting),
        )

    async def _count_uses(self) -> dict[bytes, int]:
        """Count the entries of the whole store that need each dictionary."""
        uses: dict[bytes, int] = {}
        for collection in await self._inner.list_collections():
            if collection == RESERVED:
                continue
            async for page in pages(self._inner, collection):
                entries = await self._inner.read(collection, page.keys) if page.keys else []
                for entry in entries:
                    # At any position in the codec: there may be another compression outside.
                    for step in codec.steps(entry.codec) if entry is not None else ():
                        if step[0] == codec.ZSTD_DICTIONARY:
                            uses[step[1:]] = uses.get(step[1:], 0) + 1
        return uses


def _retired(record: DictionaryRecord | None, now: float) -> DictionaryRecord | None:
    return None if record is None else msgspec.structs.replace(record, retired_at=now)


def _without(primary: PrimaryRecord | None, removed: set[bytes]) -> PrimaryRecord | None:
    if primary is None:
        return None
    remaining = tuple(identity for identity in primary.all if identity not in removed)
    return msgspec.structs.replace(primary, all=remaining)
