"""Stored dictionaries: records in a collection of their own, next to the entries that need them.

The collection `RESERVED` holds two kinds of record, each a MessagePack map compressed with
zstd without a dictionary:

- `dictionary-` followed by the id in hex: the dictionary. The id is the beginning of the
  dictionary's SHA-256, so an id never changes its meaning, and an entry can be read wherever
  it has been copied to within the store.
- `primary-` followed by a hash of the collection's name: the dictionary that new entries of the
  collection are compressed with, and all that the collection has had.

No record names the collection: a layer inside may hash names.

Records pass through the parts inside the compression layer, so they are encrypted, prefixed and
replicated like entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

import msgspec

from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.paging import pages
from kvwrap.core.primitives import ABSENT, Collection, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.errors import ConfigurationError, CorruptEntry, StoreUnavailable
from kvwrap.layers.compression.algorithms.zstd import Zstd

RESERVED = "kvwrap.dictionaries"
"""Collection that holds the dictionaries."""

_MAX_ATTEMPTS = 100
_MAX_RECORD_SIZE = 2**24 + 2**16  # the largest dictionary, and the other fields


class DictionaryRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dictionary as stored.

    `kvwrap.layers.compression.dictionaries.DictionaryInfo` documents the fields.
    """

    dictionary: bytes
    created_at: float
    samples: int
    ratio: float
    retired_at: float | None = None


class PrimaryRecord(msgspec.Struct, frozen=True):
    """The dictionary that a collection is written with.

    Attributes:
        current: Id of the dictionary for new entries; None to compress without one.
        all: Ids of all dictionaries that the collection has had, oldest first.
    """

    current: bytes | None = None
    all: tuple[bytes, ...] = ()


R = TypeVar("R", DictionaryRecord, PrimaryRecord)


def dictionary_id(dictionary: bytes) -> bytes:
    """Return the four bytes that stand for a dictionary in the codec of entries."""
    return hashlib.sha256(dictionary).digest()[:4]


def dictionary_key(identity: bytes) -> str:
    """Return the key of a dictionary's record, given the dictionary's id."""
    return "dictionary-" + identity.hex()


def primary_key(collection: Collection) -> str:
    """Return the key of a collection's `PrimaryRecord`."""
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
    def compares_versions(self) -> bool:
        """True if an update of a record can be made safe against concurrent updates."""
        return Capability.COMPARE_AND_PUT in self._inner.capabilities

    async def read_dictionaries(self, identities: Iterable[bytes]) -> dict[bytes, DictionaryRecord]:
        """Read the records of these dictionaries, by id. Those that are not stored are left out."""
        requested = list(identities)
        entries = await self._read([dictionary_key(identity) for identity in requested])
        return {
            identity: self._decode(entry, dictionary_key(identity), DictionaryRecord)
            for identity, entry in zip(requested, entries, strict=True)
            if entry is not None
        }

    async def read_primary(self, collection: Collection) -> PrimaryRecord | None:
        """Read the primary of a collection. Returns None if it never had one."""
        key = primary_key(collection)
        (entry,) = await self._read([key])
        return None if entry is None else self._decode(entry, key, PrimaryRecord)

    async def read_all(
        self,
    ) -> tuple[dict[bytes, tuple[DictionaryRecord, int]], dict[str, PrimaryRecord]]:
        """Read all dictionaries with the versions of their records, and all primaries by key."""
        dictionaries: dict[bytes, tuple[DictionaryRecord, int]] = {}
        primaries = {}
        async for page in pages(self._inner, RESERVED):
            for key, entry in zip(page.keys, await self._read(page.keys), strict=True):
                if entry is not None and key.startswith("dictionary-"):
                    record = self._decode(entry, key, DictionaryRecord)
                    dictionaries[dictionary_id(record.dictionary)] = record, entry.version
                elif entry is not None and key.startswith("primary-"):
                    primaries[key] = self._decode(entry, key, PrimaryRecord)
        return dictionaries, primaries

    async def update(
        self, key: str, kind: type[R], change: Callable[[R | None], R | None], now: float
    ) -> R | None:
        """Replace a record by the one that `change` returns for it, atomically if possible.

        The update is atomic if the store can compare versions. `change` may then be called
        several times. It gets None if there is no record, and returns None to leave the record
        unchanged.

        Args:
            key: Key of the record.
            kind: Class of the record.
            change: Returns the new record for the current one.
            now: Creation time of the new record, in Unix seconds.

        Returns:
            The record that is stored afterwards, or None if there is no record.

        Raises:
            StoreUnavailable: Other writers changed the record during each of 100 attempts.
        """
        for _ in range(_MAX_ATTEMPTS):
            (entry,) = await self._read([key])
            old = None if entry is None else self._decode(entry, key, kind)
            new = change(old)
            if new is None:
                return old
            version = ABSENT if entry is None else entry.version
            expected = [version] if self.compares_versions else None
            replacement = self._encode(new, now)
            if (await self._inner.write(RESERVED, [key], [replacement], expected))[0]:
                return new
        raise StoreUnavailable(
            "a record must stay unchanged while it is updated; other writers changed it during "
            f"each of {_MAX_ATTEMPTS} attempts. Train again when fewer processes do",
            store=self._inner.name,
            collection=RESERVED,
            key=key,
        )

    async def put_dictionary(
        self, identity: bytes, record: DictionaryRecord, now: float
    ) -> DictionaryRecord:
        """Store a dictionary, or give the stored one a new version and remove its retirement.

        Returns:
            The record that is stored afterwards.

        Raises:
            ConfigurationError: Another dictionary has this id.
        """

        def unretired(stored: DictionaryRecord | None) -> DictionaryRecord:
            if stored is None:
                return record
            if stored.dictionary != record.dictionary:
                raise ConfigurationError(
                    f"the id {identity.hex()} of the new dictionary must be unused, but another "
                    "dictionary has it: train with another size"
                )
            # A new version without the mark: a process about to delete the record no longer can.
            return msgspec.structs.replace(stored, retired_at=None)

        key = dictionary_key(identity)
        return await self.update(key, DictionaryRecord, unretired, now) or record

    async def check_durable(self) -> None:
        """Check that what is put into the reserved collection stays there.

        Raises:
            ConfigurationError: A part inside makes entries expire, or does not keep them.
        """
        key = f"trial-{new_version():016x}"
        await self._inner.write(RESERVED, [key], [Entry(b"", codec.BYTES, 0.0, None, 0)])
        (entry,) = await self._read([key])
        await self._inner.remove(RESERVED, [key])
        if entry is None or entry.expires_at is not None:
            fault = "does not keep what is put" if entry is None else "makes every entry expire"
            raise ConfigurationError(
                "a dictionary must outlive the entries that need it, but a part inside this layer "
                f"{fault}: move that part outside, as in "
                ".clamp_ttl(...).compress(dictionaries=True)",
                store=self._inner.name,
            )

    async def delete(self, identity: bytes, version: int) -> bool:
        """Delete a dictionary if its record still has this version. Returns True if it had."""
        return (await self._inner.remove(RESERVED, [dictionary_key(identity)], [version]))[0]

    async def _read(self, keys: Iterable[str]) -> list[Entry | None]:
        batch = list(keys)
        return await self._inner.read(RESERVED, batch) if batch else []

    def _encode(self, record: DictionaryRecord | PrimaryRecord, now: float) -> Entry:
        body = self._zstd.compress(msgspec.msgpack.encode(record))
        return Entry(body, codec.ZSTD + codec.MSGPACK, now, None, new_version())

    def _decode(self, entry: Entry, key: str, kind: type[R]) -> R:
        problem = f"it is {codec.describe(entry.codec)}"
        if entry.codec == codec.ZSTD + codec.MSGPACK:
            try:
                body = self._zstd.decompress(entry.body, _MAX_RECORD_SIZE)
                record = msgspec.msgpack.decode(body, type=kind)
            except (CorruptEntry, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                problem = "it was altered or truncated"
            else:
                own_key = key
                if isinstance(record, DictionaryRecord):
                    own_key = dictionary_key(dictionary_id(record.dictionary))
                if own_key == key:
                    return record
                problem = f"it belongs to the key {own_key}"
        raise CorruptEntry(
            "the record of a compression dictionary must be zstd over MessagePack, stored under "
            f"its own key; {problem}. Restore it from a backup",
            store=self._inner.name,
            collection=RESERVED,
            key=key,
        )
