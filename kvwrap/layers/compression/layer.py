"""Compression of values."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NoReturn

from kvwrap.errors import ConfigurationError, CorruptEntry, DecryptionError, InvalidValue
from kvwrap.layers.base import (
    JSON,
    TTL,
    Capability,
    Collection,
    Entry,
    Finding,
    Keeping,
    Layer,
    LegacyReader,
    Passage,
    Store,
    Transform,
    checked_collection,
    checked_flag,
    checked_names,
    checked_readers,
    checked_ttl,
    codec,
)
from kvwrap.layers.compression.algorithms.base import Algorithm, too_dense, too_large
from kvwrap.layers.compression.algorithms.lookup import NAMES, make_algorithm
from kvwrap.layers.compression.dictionaries import Dictionaries, DictionaryInfo, Pruned
from kvwrap.layers.compression.expansion import FREE_BYTES, expands_too_far
from kvwrap.layers.compression.records import RESERVED
from kvwrap.layers.compression.sampling import sample_values

_DICTIONARY_TAG = bytes((codec.ZSTD_DICTIONARY,))
_ANNOTATION = bytes((codec.ANNOTATION,))
_DAY = 86_400.0
_LARGE = 2**18
"""Bytes from which a value is compressed and decompressed in a thread, and without a dictionary.

zstd compresses as many in about 1 ms. A call in a thread takes 0.15 ms longer.
"""
_MAY_BE_LARGE = 2**12
"""Bytes at rest from which an entry is asked for its size. Fewer expand to 2 MiB at most."""


class Compression(Keeping, Transform):
    """Compresses values on writing, where that makes them smaller.

    Each entry states how it was compressed. Entries that are not compressed are read, so the
    layer can be added to a store that holds data. Of the algorithms, only the chosen one is
    read and those in `accept`, so that nobody who can write to the backend chooses which library
    parses the bytes. To change the algorithm, accept the old one until `kvwrap.rewrite` has
    converted its entries.

    Args:
        algorithm: "zstd", "gzip", "lz4" or "brotli"; the last two need the extra of their name.
        level: Compression level, on the algorithm's own scale; by default 3 for zstd, 6 for
            gzip, 0 for lz4 and 5 for brotli.
        min_size: Smaller values, in bytes, are stored uncompressed.
        max_size: Maximum number of bytes that an entry may decompress to, so that a small forged
            one does not fill the memory. Larger values are stored uncompressed, and so are those
            over 1 MiB that would shrink to less than 1/256, or to less than a byte for 16 of
            their objects. Both bounds also hold for what the `legacy` readers decompress.
        accept: Further algorithms whose entries are read.
        dictionaries: True to compress new entries with the dictionaries trained for their
            collections (zstd only); see `train`. Entries compressed with a dictionary are read
            wherever those of zstd are.
        refresh: Seconds after which a process checks whether a collection has a new dictionary.
        legacy: Readers of what other libraries compressed, from `kvwrap.integrations`.

    Raises:
        CorruptEntry: On reading, for an entry that was altered or truncated, that decompresses to
            more than `max_size` bytes or than this layer writes for its size at rest, whose
            algorithm is not accepted, or whose dictionary is not stored any more.
    """

    passage = Passage(
        read="decompresses the value",
        write="compresses the value if that makes it smaller",
        value="compressed",
    )
    traits = frozenset({"compresses"})
    reserved = (RESERVED,)
    finding_codes = frozenset({"compressed-twice", "compression-inside-encryption"})

    def __init__(
        self,
        algorithm: Literal["zstd", "gzip", "lz4", "brotli"] = "zstd",
        *,
        level: int | None = None,
        min_size: int = 64,
        max_size: int = 32 * 2**20,
        accept: Sequence[Literal["zstd", "gzip", "lz4", "brotli"]] = (),
        dictionaries: bool = False,
        refresh: TTL = 60,
        legacy: Sequence[LegacyReader] = (),
    ) -> None:
        for name, size, least in (("min_size", min_size, 0), ("max_size", max_size, 1)):
            if type(size) is not int or size < least:
                raise ConfigurationError(
                    f"`{name}` must be a number of bytes, an integer of at least {least}; "
                    f"got {size!r}"
                )
        if dictionaries and algorithm != "zstd":
            raise ConfigurationError(
                f"`dictionaries=True` requires algorithm='zstd'; got {algorithm!r}. Choose zstd, "
                "or dictionaries=False"
            )
        self._algorithm = make_algorithm(algorithm, level)
        others = (make_algorithm(name) for name in checked_names(accept, "accept"))
        self._readers: dict[bytes, Algorithm] = {
            reader.step: reader for reader in (*others, self._algorithm)
        }
        self._reads_dictionaries = codec.ZSTD in self._readers
        self._level = level
        self._min_size = min_size
        self._max_size = max_size
        self.uses_dictionaries = self.keeps_records = checked_flag(dictionaries, "dictionaries")
        self._refresh = checked_ttl(refresh, "refresh")
        self._legacy = checked_readers(legacy)

    def on_bind(self) -> None:
        super().on_bind()
        level = self._level if self._algorithm.name == "zstd" else None
        self._dictionaries = Dictionaries(self.inner, self.clock, level, self._refresh)
        self._primaries = self._dictionaries.primaries
        self._prepares_encode = self.uses_dictionaries

    @property
    def idle(self) -> bool:
        """True while no dictionary is being looked up."""
        return self._dictionaries.idle

    # -- one entry ---------------------------------------------------------------------

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        encoded = self.begin_encode(entry, collection, key)
        return encoded() if callable(encoded) else encoded

    def begin_encode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry]:
        size = len(entry.body)
        if not self._min_size <= size <= self._max_size:
            return self._unambiguous(entry, collection, key) if self._legacy else entry
        algorithm = self._algorithm
        if size >= _LARGE and not self._legacy:  # whose readers may have state
            return partial(self._encode_with, algorithm.separate(), entry, collection, key)
        if self._primaries:
            algorithm = self._primaries.get(collection, algorithm)
        return self._encode_with(algorithm, entry, collection, key)

    def _encode_with(
        self, algorithm: Algorithm, entry: Entry, collection: Collection, key: str
    ) -> Entry:
        body = entry.body
        compressed = algorithm.compress(body)
        if len(compressed) + len(algorithm.step) >= len(body) or (
            len(body) > FREE_BYTES and expands_too_far(body, entry.codec, len(compressed))
        ):
            return self._unambiguous(entry, collection, key) if self._legacy else entry
        return entry.with_body(compressed, algorithm.step + entry.codec)

    def _unambiguous(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """Return the entry, compressed in any case if a legacy reader would take it for its own.

        So a value that only looks like another library's is returned as it was put.
        """
        try:
            looks_foreign = self._read_legacy(entry, collection, key) is not None
        except (CorruptEntry, DecryptionError):
            looks_foreign = True
        if not looks_foreign:
            return entry
        compressed = self._algorithm.compress(entry.body)
        if len(entry.body) > self._max_size or expands_too_far(
            entry.body, entry.codec, len(compressed)
        ):
            raise InvalidValue(
                f"a value of more than max_size={self._max_size} bytes, or one that compresses "
                "extremely well, must not have the form that the legacy readers of this layer "
                "decode: rewrite the store, and remove them",
                store=self.name,
                collection=collection,
                key=key,
            )
        return entry.with_body(compressed, self._algorithm.step + entry.codec)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        decoded = self.begin_decode(entry, collection, key)
        return decoded() if callable(decoded) else decoded

    def begin_decode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry]:
        tag = entry.codec[:1]
        if tag == _ANNOTATION:
            front, steps = codec.split_annotations(entry.codec)
            plain = self.decode(entry.with_body(entry.body, steps), collection, key)
            return plain.with_body(plain.body, front + plain.codec)
        reader = self._readers.get(tag)
        try:
            if reader is None and tag == _DICTIONARY_TAG and self._reads_dictionaries:
                reader = self._dictionaries.get(entry.codec[1:5])
            if reader is None:
                return self._decode_foreign(tag, entry, collection, key)
        except CorruptEntry as error:
            error.store, error.collection, error.key = self.name, collection, key
            raise
        body = entry.body
        if len(body) >= _MAY_BE_LARGE and reader.decompressed_size(body) >= _LARGE:
            return partial(self._decode_with, reader.separate(), entry, collection, key)
        return self._decode_with(reader, entry, collection, key)

    def _decode_foreign(self, tag: bytes, entry: Entry, collection: Collection, key: str) -> Entry:
        """Decode an entry that this layer has not compressed, if it may be read."""
        if tag in NAMES or tag == _DICTIONARY_TAG:
            _refuse(NAMES.get(tag, "zstd"))
        if self._legacy:
            return self._read_legacy(entry, collection, key) or entry
        return entry

    def _decode_with(
        self, reader: Algorithm, entry: Entry, collection: Collection, key: str
    ) -> Entry:
        steps = entry.codec[len(reader.step) :]
        try:
            body = reader.decompress(entry.body, self._max_size)
            if len(body) > FREE_BYTES and expands_too_far(body, steps, len(entry.body)):
                raise too_dense()
        except CorruptEntry as error:
            error.store, error.collection, error.key = self.name, collection, key
            raise
        return entry.with_body(body, steps)

    def _read_legacy(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        for legacy in self._legacy:
            decoded = legacy.read(entry, collection, key, limit=self._max_size)
            if decoded is not None:
                if len(decoded.body) > self._max_size:
                    raise too_large(self._max_size)
                if expands_too_far(decoded.body, decoded.codec, len(entry.body)):
                    raise too_dense()
                return decoded
        return None

    async def prepare_encode(self, collection: Collection) -> None:
        if self.uses_dictionaries:
            await self._dictionaries.refresh(collection)

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        if not self._reads_dictionaries:
            return
        needed = set()
        for entry in entries:
            steps = b"" if entry is None else codec.skip_annotations(entry.codec)
            if steps[:1] == _DICTIONARY_TAG:
                needed.add(steps[1:5])
        if needed:
            await self._dictionaries.load(needed)

    def is_prepared(self, entry: Entry) -> bool:
        steps = entry.codec
        return _DICTIONARY_TAG not in steps or (
            steps[:1] == _DICTIONARY_TAG and steps[1:5] in self._dictionaries.loaded
        )

    # -- dictionaries ------------------------------------------------------------------

    async def train(
        self,
        collection: Collection = None,
        *,
        samples: Iterable[Any] | None = None,
        size: int = 16 * 1024,
        rng: random.Random | None = None,
    ) -> DictionaryInfo:
        """Train a dictionary on a collection, and compress new entries of the collection with it.

        Other processes follow within `refresh` seconds. Existing entries stay as they are until
        they are put again or rewritten by `kvwrap.rewrite`.

        Args:
            collection: Its name as this layer sees it: inside layers that rename.
            samples: Values to train on instead of the collection's own, similar to those that
                will be put. `bytes` are taken for serialized values; other values are serialized
                as JSON.
            size: Maximum size of the dictionary in bytes. Values of up to 128 times this size are
                collected for the training.
            rng: Chooses which of the collection's values to train on.

        Raises:
            ConfigurationError: The layer has `dictionaries=False`, or a part inside it makes
                entries expire.
            InvalidValue: The samples are too few or too small, or have nothing in common.
            UnsupportedOperation: The store cannot enumerate keys, and there are no `samples`.
        """
        collection = checked_collection(collection)
        if not self.uses_dictionaries:
            raise ConfigurationError(
                "train() requires a layer that compresses with dictionaries: write "
                ".compress(dictionaries=True)",
                store=self.name,
            )
        if type(size) is not int or not 256 <= size <= 2**24:
            raise ConfigurationError(
                f"`size` must be an integer from 256 to {2**24} (bytes); got {size!r}"
            )
        if samples is not None:
            bodies = [s if isinstance(s, bytes) else JSON.dumps(s) for s in samples]
        elif Capability.KEYS in self.inner.capabilities:
            bodies = await sample_values(self, collection, size, rng or random.Random())
        else:
            raise self.unsupported(
                "sample a collection, since the store cannot enumerate keys: pass samples= to "
                "train()"
            )
        try:
            return await self._dictionaries.train(collection, bodies, size)
        except InvalidValue as error:
            error.store, error.collection = self.name, collection
            raise

    async def dictionaries(self, collection: Collection = None) -> list[DictionaryInfo]:
        """Read which dictionaries this collection has had and are still stored, oldest first."""
        return await self._dictionaries.history(collection)

    async def retire(self, collection: Collection = None) -> bool:
        """Compress new entries of this collection without a dictionary. Returns True if it had one.

        Other processes follow within `refresh` seconds. Nothing is deleted; see `prune`.
        """
        return await self._dictionaries.retire(collection)

    async def prune(self, *, grace: TTL = _DAY) -> Pruned:
        """Delete the dictionaries that no entry of the store uses and no process writes with.

        These are the dictionaries that were retired (by another `train`, or by `retire`) at least
        `grace` seconds ago and that no entry of the store names. All entries are read to find out.

        Args:
            grace: Seconds within which every process has noticed that a dictionary was retired,
                and its writes in progress have finished. Choose more than twice the largest
                `refresh`, and more than a journal or a near store inside may lag behind.

        Raises:
            ConfigurationError: `grace` is less than twice this layer's `refresh`.
            UnsupportedOperation: The store cannot enumerate its entries, or cannot compare
                versions, without which no deletion is safe.
        """
        needed = {Capability.KEYS, Capability.COLLECTIONS, Capability.COMPARE_AND_PUT}
        if not needed <= self.inner.capabilities:
            raise self.unsupported(
                "tell which dictionaries are unused: the store lacks the capabilities "
                + ", ".join(sorted(needed - self.inner.capabilities))
            )
        seconds = checked_ttl(grace, "grace")
        if seconds < 2 * self._refresh:
            raise ConfigurationError(
                f"`grace` must be at least twice refresh={self._refresh:g} seconds; "
                f"got {seconds:g} seconds"
            )
        return await self._dictionaries.prune(seconds)

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("encrypts" in layer.traits for layer in above):
            yield Finding(
                "compression-inside-encryption",
                "Encrypted values look random, so compression does not make them smaller.",
                "Put .compress() before .encrypt().",
            )
        if any("compresses" in layer.traits for layer in above):
            yield Finding(
                "compressed-twice",
                "An outer layer has already compressed the values; they do not get smaller again.",
                "Keep one .compress(), with accept=[...] for the algorithm of the other.",
                # Two layers with dictionaries would share the reserved collection, and hide it.
                fatal=any(
                    layer.uses_dictionaries or layer._algorithm.step not in self._readers
                    for layer in above
                    if isinstance(layer, Compression)
                ),
            )


def _refuse(name: str) -> NoReturn:
    raise CorruptEntry(
        f"an entry must be compressed with an algorithm that this layer accepts; this one is with "
        f"{name}: to read it, write .compress(..., accept=[{name!r}])"
    )
