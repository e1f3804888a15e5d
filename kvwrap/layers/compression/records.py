"""Dictionaries at rest: in a collection of their own, beside the entries that need them.

Two kinds of record lie in the collection `RESERVED`, each a MessagePack map compressed with
zstd, dictionary-less:

- under `dictionary-` and the id in hex, the dictionary itself. The id is the beginning of the
  dictionary's SHA-256, so an id can never come to mean something else, and an entry opens
  wherever it has been copied to within the store.
- under `primary-` and a hash of the collection's name, which dictionary new entries of the
  collection are compressed with, and which it has had.

Going through the part inside the compression layer, records are encrypted, prefixed and
replicated as entries are.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

import msgspec

from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.paging import pages
from kvwrap.core.primitives import ABSENT, Collection, Primitives
from kvwrap.errors import ConfigurationError, CorruptEntry, StoreUnavailable
from kvwrap.layers.compression.algorithms.zstd import Zstd

RESERVED = "kvwrap.dictionaries"
"""The collection that dictionaries lie in."""

_ATTEMPTS = 100
_LARGEST = 64 * 2**20


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dictionary; see `kvwrap.layers.compression.dictionaries.DictionaryInfo` for the fields."""

    dictionary: bytes
    collection: Collection
    created_at: float
    samples: int
    ratio: float
    retired_at: float | None = None


class Primary(msgspec.Struct, frozen=True):
    """Which dictionary a collection is written with, if any, and all that it has had."""

    collection: Collection
    current: bytes | None = None
    all: tuple[bytes, ...] = ()


R = TypeVar("R", Record, Primary)


def dictionary_id(dictionary: bytes) -> bytes:
    """What stands for a dictionary in the codec of entries."""
    return hashlib.sha256(dictionary).digest()[:4]


def dictionary_key(identity: bytes) -> str:
    """Where the dictionary lies."""
    return "dictionary-" + identity.hex()


def primary_key(collection: Collection) -> str:
    """Where the collection's `Primary` lies."""
    name = b"" if collection is None else b"c" + collection.encode()
    return "primary-" + hashlib.sha256(name).hexdigest()[:32]


class DictionaryStore:
    """Reads and writes records through the part inside the compression layer."""

    def __init__(self, inner: Primitives) -> None:
        self._inner = inner

    @cached_property
    def _zstd(self) -> Zstd:
        return Zstd()

    @property
    def compares(self) -> bool:
        """Whether a change of a record can be made safe against another process's."""
        return Capability.COMPARE_AND_PUT in self._inner.capabilities

    async def records(self, identities: Iterable[bytes]) -> dict[bytes, Record]:
        """Those of these dictionaries that there are."""
        wanted = list(identities)
        found = await self._read([dictionary_key(each) for each in wanted])
        return {
            identity: self._opened(entry, dictionary_key(identity), Record)
            for identity, entry in zip(wanted, found, strict=True)
            if entry is not None
        }

    async def primary(self, collection: Collection) -> Primary | None:
        """What this collection is written with."""
        key = primary_key(collection)
        entry = (await self._read([key]))[0]
        return None if entry is None else self._opened(entry, key, Primary)

    async def everything(self) -> tuple[dict[bytes, tuple[Record, int]], list[Primary]]:
        """All dictionaries with the versions of their records, and all primaries."""
        records: dict[bytes, tuple[Record, int]] = {}
        primaries = []
        async for page in pages(self._inner, RESERVED):
            for key, entry in zip(page.keys, await self._read(page.keys), strict=True):
                if entry is not None and key.startswith("dictionary-"):
                    identity = bytes.fromhex(key.removeprefix("dictionary-"))
                    records[identity] = self._opened(entry, key, Record), entry.version
                elif entry is not None and key.startswith("primary-"):
                    primaries.append(self._opened(entry, key, Primary))
        return records, primaries

    async def change(
        self, key: str, kind: type[R], make: Callable[[R | None], R | None], now: float
    ) -> R | None:
        """Put what `make` gives for the record there is, atomically if the store can.

        `make` may be called again and gives `None` to leave things as they are.
        """
        for _ in range(_ATTEMPTS):
            entry = (await self._read([key]))[0]
            old = None if entry is None else self._opened(entry, key, kind)
            new = make(old)
            if new is None:
                return old
            expected = [ABSENT if entry is None else entry.version] if self.compares else None
            put = self._closed(new, now)
            if (await self._inner.write(RESERVED, [key], [put], expected))[0]:
                return new
        raise StoreUnavailable(
            f"the record changed under {_ATTEMPTS} attempts to change it",
            store=self._inner.name,
            collection=RESERVED,
            key=key,
        )

    async def keep(self, identity: bytes, record: Record, now: float) -> Record:
        """Put a dictionary, or give the one that is there another version; give back which.

        Raises:
            ConfigurationError: Another dictionary has this id.
        """

        def made(old: Record | None) -> Record:
            if old is None:
                return record
            if old.dictionary != record.dictionary:
                raise ConfigurationError(
                    f"another dictionary has the id {identity.hex()}: train with another size"
                )
            # A new version, without the mark: whoever was about to delete it no longer can.
            return msgspec.structs.replace(old, retired_at=None)

        return await self.change(dictionary_key(identity), Record, made, now) or record

    async def check(self) -> None:
        """See that what is put beside the entries stays there.

        Raises:
            ConfigurationError: A part inside lets entries expire, or keeps none.
        """
        key = f"trial-{random.getrandbits(64):016x}"
        await self._inner.write(RESERVED, [key], [Entry(b"", codec.BYTES, 0.0, None, 0)])
        entry = (await self._read([key]))[0]
        await self._inner.remove(RESERVED, [key])
        if entry is None or entry.expires_at is not None:
            lost = "does not keep what is put" if entry is None else "gives every entry an end"
            raise ConfigurationError(
                f"a dictionary must outlive the entries that need it, and a part inside this layer "
                f"{lost}: put that part outside, as in "
                ".clamp_ttl(...).compress(dictionaries=True)",
                store=self._inner.name,
            )

    async def delete(self, identity: bytes, version: int) -> bool:
        """Take a dictionary away if its record has not changed since; whether it is gone."""
        return (await self._inner.remove(RESERVED, [dictionary_key(identity)], [version]))[0]

    async def _read(self, keys: Iterable[str]) -> list[Entry | None]:
        wanted = list(keys)
        return await self._inner.read(RESERVED, wanted) if wanted else []

    def _closed(self, record: Record | Primary, now: float) -> Entry:
        body = self._zstd.compress(msgspec.msgpack.encode(record))
        return Entry(body, codec.ZSTD + codec.MSGPACK, now, None, random.getrandbits(64))

    def _opened(self, entry: Entry, key: str, kind: type[R]) -> R:
        why = f"it is {codec.named(entry.codec)}"
        if entry.codec == codec.ZSTD + codec.MSGPACK:
            try:
                body = self._zstd.decompress(entry.body, _LARGEST)
                record = msgspec.msgpack.decode(body, type=kind)
            except (CorruptEntry, msgspec.MsgspecError, UnicodeDecodeError):
                why = "it is broken"
            else:
                named = key
                if isinstance(record, Record):
                    named = dictionary_key(dictionary_id(record.dictionary))
                if named == key:
                    return record
                why = f"it is that of {named}"
        raise CorruptEntry(
            f"the record of a compression dictionary cannot be read: {why}",
            store=self._inner.name,
            collection=RESERVED,
            key=key,
        )
