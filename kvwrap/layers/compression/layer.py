"""Values made smaller."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn

from kvwrap.errors import ConfigurationError, CorruptEntry, InvalidValue
from kvwrap.layers.base import (
    JSON,
    TTL,
    Capability,
    Collection,
    Entry,
    Finding,
    Layer,
    LegacyReader,
    Store,
    checked_flag,
    checked_readers,
    checked_ttl,
    codec,
)
from kvwrap.layers.compression.algorithms.base import Algorithm
from kvwrap.layers.compression.algorithms.lookup import NAMES, algorithm
from kvwrap.layers.compression.dictionaries import Dictionaries, DictionaryInfo, Pruned
from kvwrap.layers.compression.records import RESERVED
from kvwrap.layers.compression.reserved import ReservedCollection
from kvwrap.layers.compression.sampling import sampled

_WITH_DICTIONARY = bytes((codec.ZSTD_DICTIONARY,))
_DAY = 86_400.0


class Compression(ReservedCollection):
    """Compresses values on writing, where that makes them smaller.

    Each entry says how it was compressed, and entries of all four algorithms are read
    whichever is chosen, as are entries that are not compressed: the layer can be added to
    a store that holds data, and changed later.

    Args:
        algorithm: "zstd", "gzip", "lz4" or "brotli"; the last two need the extra of their name.
        level: How hard to try, on the algorithm's own scale; by default 3 for zstd, 6 for gzip,
            0 for lz4 and 5 for brotli.
        min_size: Values of fewer bytes are left as they are.
        max_size: The most bytes that an entry may decompress to, so that a small forged one
            does not fill the memory. Larger values are stored uncompressed.
        dictionaries: Whether new entries are compressed with the dictionaries trained for
            their collections (zstd only); see `train`. Entries that were are read in any case.
        refresh: Seconds after which a process looks whether a collection has got another
            dictionary.
        legacy: Readers of what other libraries compressed, from `kvwrap.integrations`.

    Raises:
        CorruptEntry: On reading, for an entry that is altered, truncated or larger than
            `max_size`, or whose dictionary is lost.
    """

    traits = frozenset({"compresses"})

    def __init__(
        self,
        algorithm: Literal["zstd", "gzip", "lz4", "brotli"] = "zstd",
        *,
        level: int | None = None,
        min_size: int = 64,
        max_size: int = 256 * 2**20,
        dictionaries: bool = False,
        refresh: TTL = 60,
        legacy: Sequence[LegacyReader] = (),
    ) -> None:
        for name, size, least in (("min_size", min_size, 0), ("max_size", max_size, 1)):
            if type(size) is not int or size < least:
                raise ConfigurationError(f"{name} is a whole number from {least}, not {size!r}")
        if dictionaries and algorithm != "zstd":
            raise ConfigurationError(
                f"{algorithm} has no dictionaries: choose algorithm='zstd', or dictionaries=False"
            )
        self._writes = _algorithm(algorithm, level)
        self._compress = self._writes.compress
        self._reads: dict[bytes, Algorithm] = {self._writes.step: self._writes}
        self._level = level
        self._min_size = min_size
        self._max_size = max_size
        self.uses_dictionaries = checked_flag(dictionaries, "dictionaries")
        self._refresh = checked_ttl(refresh)
        self._legacy = checked_readers(legacy)

    def on_bind(self) -> None:
        super().on_bind()
        level = self._level if self._writes.name == "zstd" else None
        self._dictionaries = Dictionaries(self.inner, self.clock, level, self._refresh)
        self._primaries = self._dictionaries.primaries
        self._waits_to_encode = self.uses_dictionaries

    # -- one entry ---------------------------------------------------------------------

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        body = entry.body
        if not self._min_size <= len(body) <= self._max_size:
            return entry
        primary = self._primaries.get(collection) if self._primaries else None
        if primary is None:
            step, made = self._writes.step, self._compress(body)
        else:
            step, made = primary.step, primary.compress(body)
        if len(made) + len(step) >= len(body):
            return entry
        return entry.with_body(made, step + entry.codec)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        steps = entry.codec
        first = steps[:1]
        try:
            if first in NAMES:
                reader = self._reads.get(first) or self._reader(first)
                return entry.with_body(reader.decompress(entry.body, self._max_size), steps[1:])
            if first == _WITH_DICTIONARY:
                dictionary = self._dictionaries.loaded.get(steps[1:5]) or _lost(steps[1:5])
                return entry.with_body(dictionary.decompress(entry.body, self._max_size), steps[5:])
            for legacy in self._legacy:
                read = legacy.read(entry, collection, key)
                if read is not None:
                    return read
        except CorruptEntry as error:
            error.store, error.collection, error.key = self.name, collection, key
            raise
        return entry

    def _reader(self, step: bytes) -> Algorithm:
        self._reads[step] = _algorithm(NAMES[step])
        return self._reads[step]

    async def prepare_encode(self, collection: Collection) -> None:
        if self.uses_dictionaries:
            await self._dictionaries.refreshed(collection)

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        unknown = set()
        for entry in entries:
            if entry is not None and entry.codec[:1] == _WITH_DICTIONARY:
                unknown.add(entry.codec[1:5])
        if unknown:
            await self._dictionaries.load(unknown)

    # -- dictionaries ------------------------------------------------------------------

    async def train(
        self,
        collection: Collection = None,
        *,
        samples: Iterable[Any] | None = None,
        size: int = 16 * 1024,
        rng: random.Random | None = None,
    ) -> DictionaryInfo:
        """Train a dictionary on a collection, and compress what is put there with it from now on.

        Other processes follow within `refresh` seconds. What the collection holds already stays
        as it is, until it is put again or `kvwrap.rewrite` goes over it.

        Args:
            collection: Its name as this layer sees it: inside layers that rename.
            samples: Values like those to come, in place of the collection's own; `bytes` are
                taken for serialized values, all else is serialized as JSON.
            size: The most bytes of the dictionary; values are collected up to 128 times it.
            rng: Chooses which of the collection's values to learn from.

        Raises:
            ConfigurationError: The layer is not to use dictionaries, or a part inside lets
                entries expire.
            InvalidValue: The samples are too few or too small, or have nothing in common.
            UnsupportedOperation: The store cannot enumerate keys, and there are no `samples`.
        """
        self.check_collection(collection)
        if not self.uses_dictionaries:
            raise ConfigurationError(
                "this layer would not use the dictionary: write .compress(dictionaries=True)",
                store=self.name,
            )
        if type(size) is not int or not 256 <= size <= 2**24:
            raise ConfigurationError(f"size is from 256 bytes to 16 MiB, not {size!r}")
        if samples is not None:
            taken = [s if isinstance(s, bytes) else JSON.dumps(s) for s in samples]
        elif Capability.KEYS in self.inner.capabilities:
            taken = await sampled(self, collection, size, rng or random.Random())
        else:
            raise self.unsupported(
                "sample a collection whose keys the store cannot enumerate: give train() samples="
            )
        try:
            return await self._dictionaries.train(collection, taken, size)
        except InvalidValue as error:
            error.store, error.collection = self.name, collection
            raise

    async def dictionaries(self, collection: Collection = None) -> list[DictionaryInfo]:
        """The dictionaries that this collection has had and that are still there, oldest first."""
        return await self._dictionaries.listed(collection)

    async def retire(self, collection: Collection = None) -> bool:
        """Compress new entries of this collection without a dictionary; whether it had one.

        Other processes follow within `refresh` seconds. Nothing is deleted; see `prune`.
        """
        return await self._dictionaries.retire(collection)

    async def prune(self, *, grace: TTL = _DAY) -> Pruned:
        """Delete the dictionaries that no entry of the store uses and none will.

        Deleted is what was retired (by another `train`, or by `retire`) at least `grace` ago
        and is named by none of the store's entries, all of which are read for it.

        Args:
            grace: Seconds within which every process has learnt that a dictionary was
                retired, and whatever it was writing has arrived: more than twice the largest
                `refresh`, and more than a journal or a near store inside may lag behind.

        Raises:
            UnsupportedOperation: The store cannot enumerate its entries, or cannot compare
                versions, without which no deletion is safe.
        """
        wanted = {Capability.KEYS, Capability.COLLECTIONS, Capability.COMPARE_AND_PUT}
        if not wanted <= self.inner.capabilities:
            raise self.unsupported(
                "tell which dictionaries are unused: the store cannot "
                + ", ".join(sorted(wanted - self.inner.capabilities))
            )
        seconds = checked_ttl(grace)
        if seconds < 2 * self._refresh:
            raise ConfigurationError(
                f"grace is at least twice refresh={self._refresh:g} seconds, not {seconds:g}"
            )
        return await self._dictionaries.prune(seconds)

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("encrypts" in layer.traits for layer in above):
            yield Finding(
                "compression-inside-encryption",
                "What is encrypted looks random and does not get smaller.",
                "Put .compress() before .encrypt().",
            )
        if any("compresses" in layer.traits for layer in above):
            yield Finding(
                "compressed-twice",
                "Values are compressed by a layer further out, and will not get smaller again.",
                "Leave one .compress(); it reads what any of them wrote.",
                # Two of them would keep their dictionaries in one collection, and hide it.
                fatal=any(getattr(layer, "uses_dictionaries", False) for layer in above),
            )


def _lost(identity: bytes) -> NoReturn:
    raise CorruptEntry(
        f"the entry needs the compression dictionary {identity.hex()}, which is not in the "
        f"collection {RESERVED!r} beside it: it was deleted, or the entry comes from another store"
    )


_algorithm = algorithm
"""By another name, since the constructor has a parameter of this one."""
