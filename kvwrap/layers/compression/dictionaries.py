"""The dictionaries of one running compression layer: which there are, and which to write with.

The life of a dictionary: `train` puts it and makes it the collection's primary. The one before
is *retired*: marked with the time, no longer written with once every process has looked again
(they do at least every `refresh` seconds), and read as before. `prune` deletes what has been
retired for long and is used by no entry of the store, and only if its record is still the
one it looked at: making a dictionary primary again gives its record a new version first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

import msgspec

from kvwrap.core import codec
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.layers.compression.algorithms.zstd import Zstd
from kvwrap.layers.compression.records import (
    RESERVED,
    DictionaryStore,
    Primary,
    Record,
    dictionary_id,
    dictionary_key,
    primary_key,
)
from kvwrap.layers.compression.training import trained

_MOST_COLLECTIONS = 10_000


class DictionaryInfo(msgspec.Struct, frozen=True):
    """What is known of a dictionary.

    Attributes:
        id: What entries name it by, in hex.
        collection: What it was trained on; `None` is the default collection.
        created_at: When, seconds since 1970-01-01 UTC.
        size: Its length in bytes.
        samples: How many values it was trained and tried on.
        ratio: Bytes of values compressed with it, to those without.
        primary: Whether new entries of the collection asked about are compressed with it.
        retired_at: When it was taken out of use for new entries, if it was.
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
    """What `prune` found, by id.

    Attributes:
        deleted: Those that it deleted.
        in_use: How many entries use each of those that have been retired for long enough.
        waiting: Those retired too lately to be deleted.
    """

    deleted: tuple[str, ...]
    in_use: dict[str, int]
    waiting: tuple[str, ...]


class Loaded(Zstd):
    """A dictionary ready for use, with the step that its entries bear."""

    def __init__(self, identity: bytes, dictionary: bytes, level: int | None) -> None:
        super().__init__(level, dictionary)
        self.identity = identity
        self.step = codec.step(codec.ZSTD_DICTIONARY, identity)


class Dictionaries:
    """Dictionaries by id, and each collection's primary as it was when last looked at."""

    def __init__(self, inner: Primitives, clock: Clock, level: int | None, refresh: float) -> None:
        self.loaded: dict[bytes, Loaded] = {}
        self.primaries: dict[Collection, Loaded] = {}
        self._inner = inner
        self._clock = clock
        self._level = level
        self._refresh = refresh
        self._shelf = DictionaryStore(inner)
        self._looked: dict[Collection, float] = {}
        self._locks = KeyedLocks()

    async def refreshed(self, collection: Collection) -> None:
        """See that the collection's primary is known as it was `refresh` seconds ago at most."""
        if not self._is_fresh(collection):
            async with self._locks.hold(collection):
                if not self._is_fresh(collection):
                    await self._look(collection)

    def _is_fresh(self, collection: Collection) -> bool:
        looked = self._looked.get(collection)
        return looked is not None and self._clock.monotonic() - looked < self._refresh

    async def _look(self, collection: Collection) -> None:
        began = self._clock.monotonic()
        primary = await self._shelf.primary(collection)
        current = None if primary is None else primary.current
        if current is not None:
            await self.load((current,))
        self._set(collection, None if current is None else self.loaded.get(current), began)

    def _set(self, collection: Collection, primary: Loaded | None, looked: float) -> None:
        if len(self._looked) >= _MOST_COLLECTIONS:
            self._looked.clear()
            self.primaries.clear()
        if primary is None:
            self.primaries.pop(collection, None)
        else:
            self.primaries[collection] = primary
        self._looked[collection] = looked

    async def load(self, identities: Iterable[bytes]) -> None:
        """Have these at hand; those that there are not stay missing."""
        missing = {each for each in identities if each not in self.loaded}
        if missing:
            for identity, record in (await self._shelf.records(missing)).items():
                self.loaded[identity] = Loaded(identity, record.dictionary, self._level)

    async def train(
        self, collection: Collection, samples: list[bytes], size: int
    ) -> DictionaryInfo:
        """Train on these samples, keep the dictionary, and make it the collection's primary."""
        level = Zstd.default if self._level is None else self._level
        # In a thread, since it takes tens of milliseconds; cancelled, nothing has been kept.
        dictionary, ratio = await asyncio.to_thread(trained, samples, size, level)
        identity, now = dictionary_id(dictionary), self._clock.time()
        record = Record(dictionary, collection, now, len(samples), ratio)
        # From keep() on in an order that loses nothing wherever it is cut off: a dictionary lies
        # there before anything names it, and is marked as retired before another takes over.
        await self._shelf.check()
        record = await self._shelf.keep(identity, record, now)
        self.loaded[identity] = Loaded(identity, dictionary, self._level)
        await self._promote(collection, identity)
        # Again, for a `prune` that saw it before it was named: either that one now finds
        # another version than it saw and deletes nothing, or it has, and this undoes it.
        await self._shelf.keep(identity, record, now)
        return self._info(identity, record, identity)

    async def retire(self, collection: Collection) -> bool:
        """Have no primary for this collection; whether there was one."""
        return await self._promote(collection, None)

    async def _promote(self, collection: Collection, identity: bytes | None) -> bool:
        now, began = self._clock.time(), self._clock.monotonic()
        before = await self._shelf.primary(collection)
        current = None if before is None else before.current
        if current is not None and current != identity:
            mark = partial(_marked, now=now)
            await self._shelf.change(dictionary_key(current), Record, mark, now)

        def made(old: Primary | None) -> Primary | None:
            old = old or Primary(collection)
            if old.current == identity:
                return None
            known = old.all if identity is None or identity in old.all else (*old.all, identity)
            return Primary(collection, identity, known)

        await self._shelf.change(primary_key(collection), Primary, made, now)
        self._set(collection, None if identity is None else self.loaded[identity], began)
        return current is not None

    async def listed(self, collection: Collection) -> list[DictionaryInfo]:
        """The dictionaries that this collection has had, oldest first."""
        primary = await self._shelf.primary(collection)
        if primary is None:
            return []
        records = await self._shelf.records(primary.all)
        return [
            self._info(identity, records[identity], primary.current)
            for identity in primary.all
            if identity in records
        ]

    @staticmethod
    def _info(identity: bytes, record: Record, current: bytes | None) -> DictionaryInfo:
        return DictionaryInfo(
            identity.hex(),
            record.collection,
            record.created_at,
            len(record.dictionary),
            record.samples,
            record.ratio,
            identity == current,
            None if identity == current else record.retired_at,
        )

    async def prune(self, grace: float) -> Pruned:
        """Delete what has been retired for `grace` seconds and is used by no entry."""
        now = self._clock.time()
        records, primaries = await self._shelf.everything()
        current = {primary.current for primary in primaries}
        ripe: dict[bytes, int] = {}
        waiting = []
        for identity, (record, version) in records.items():
            if identity in current:
                continue
            if record.retired_at is None:
                # Left behind by a `train` that was cut off, or about to be made primary.
                mark = partial(_marked, now=now)
                await self._shelf.change(dictionary_key(identity), Record, mark, now)
                waiting.append(identity)
            elif now - record.retired_at < grace:
                waiting.append(identity)
            else:
                ripe[identity] = version
        used = await self._used() if ripe else {}
        deleted = [
            identity
            for identity, version in ripe.items()
            if identity not in used and await self._shelf.delete(identity, version)
        ]
        for primary in primaries:
            if gone := set(primary.all) & set(deleted):
                change = partial(_without, gone=gone)
                key = primary_key(primary.collection)
                await self._shelf.change(key, Primary, change, now)
        return Pruned(
            tuple(identity.hex() for identity in deleted),
            {identity.hex(): used[identity] for identity in ripe if identity in used},
            tuple(identity.hex() for identity in waiting),
        )

    async def _used(self) -> dict[bytes, int]:
        """How many entries of the whole store need each dictionary."""
        used: dict[bytes, int] = {}
        for collection in await self._inner.list_collections():
            if collection == RESERVED:
                continue
            async for page in pages(self._inner, collection):
                entries = await self._inner.read(collection, page.keys) if page.keys else []
                for entry in entries:
                    # Wherever in the codec, since there may be another compression outside.
                    for step in codec.steps(entry.codec) if entry is not None else ():
                        if step[0] == codec.ZSTD_DICTIONARY:
                            used[step[1:]] = used.get(step[1:], 0) + 1
        return used


def _marked(record: Record | None, now: float) -> Record | None:
    return None if record is None else msgspec.structs.replace(record, retired_at=now)


def _without(primary: Primary | None, gone: set[bytes]) -> Primary | None:
    if primary is None:
        return None
    kept = tuple(each for each in primary.all if each not in gone)
    return msgspec.structs.replace(primary, all=kept)
