"""Entries, and their storage format.

A stored entry is a header, then the body. Integers are big-endian:

====== ===== =====================================================================
offset bytes meaning
====== ===== =====================================================================
0      2     magic, `AB 6B`
2      1     format of this header, 2
3      6     creation time, milliseconds since 1970-01-01 UTC
9      6     expiry time, likewise, rounded down; 0 is never
15     8     version, a new random number for every write
23     1     length n of the codec
24     n     codec: the encoding steps, last step first (see `kvwrap.core.codec`)
24+n   4     CRC-32 of collection, key, header so far, and body (see `_checksum`)
28+n         body
====== ===== =====================================================================

The checksum covers the names, so an entry stored under another key is detected even
without encryption. It detects accidents; only encryption detects tampering.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from functools import lru_cache

import msgspec

from kvwrap.core.randomness import new_version
from kvwrap.errors import CorruptEntry

MAGIC = b"\xabk"
FORMAT = 2

_HEAD = struct.Struct(">2sBHIHIQB")
_CRC = struct.Struct(">I")
_NEVER = 0
_LAST = 2**48 - 1
_NOISE = 1e-3
_SECRET = os.urandom(16)
"""This process's key for the versions of foreign values; scripts get it as an argument."""


class ForeignVersion(int):
    """The version of a value that another program wrote without one.

    It is a hash of the value and its name, keyed with a secret of this process. So conditional
    writes compare the bytes themselves. It is meaningless to other processes and never stored:
    an entry with such a version is stored with a new one.
    """

    __slots__ = ()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value as the layers pass it on: bytes, with metadata.

    Attributes:
        body: The value as bytes, after the steps in `codec`.
        codec: The encoding steps applied to the value, last step first; see `kvwrap.core.codec`.
        created_at: Creation time in seconds since 1970-01-01 UTC.
        expires_at: Expiry time in seconds since 1970-01-01 UTC; `None` is never.
        version: Number of 64 bits, equal only for the same write of the same key.
    """

    body: bytes
    codec: bytes
    created_at: float
    expires_at: float | None
    version: int

    def with_body(self, body: bytes, codec: bytes) -> Entry:
        """Return the entry of the same write, with its value encoded differently."""
        return Entry(body, codec, self.created_at, self.expires_at, self.version)

    def with_expiry(self, expires_at: float | None, version: int | None = None) -> Entry:
        """Return the entry with another expiry time, and with another version if one is given."""
        return Entry(
            self.body,
            self.codec,
            self.created_at,
            expires_at,
            self.version if version is None else version,
        )

    def with_lasting_version(self) -> Entry:
        """Return the entry with a version that may be stored: a new one for a foreign value."""
        if type(self.version) is not ForeignVersion:
            return self
        return Entry(self.body, self.codec, self.created_at, self.expires_at, new_version())

    def to_bytes(self, collection: str | None, key: str) -> bytes:
        """Return header and body, to store under this collection and key.

        An entry with the version of a foreign value gets a new one in its header.
        """
        created = round(self.created_at * 1000)
        expiry = _NEVER if self.expires_at is None else expiry_ms(self.expires_at)
        codec = self.codec
        head = (
            _HEAD.pack(
                MAGIC,
                FORMAT,
                created >> 32,
                created & 0xFFFFFFFF,
                expiry >> 32,
                expiry & 0xFFFFFFFF,
                self.version if type(self.version) is int else new_version(),
                len(codec),
            )
            + codec
        )
        return b"".join((head, _CRC.pack(_checksum(collection, key, head, self.body)), self.body))

    @classmethod
    def from_bytes(
        cls, data: bytes, collection: str | None, key: str, store: str, *, has_raw: bool = False
    ) -> Entry:
        """Parse the bytes that `to_bytes` returned for this collection and key.

        Args:
            data: The bytes.
            collection: The collection.
            key: The key.
            store: Name of the store, for errors.
            has_raw: True if the store has an argument `raw`, which the error then suggests.

        Raises:
            CorruptEntry: The bytes are not a whole entry of this collection and key.
        """
        if not is_entry(data) or len(data) < _HEAD.size:
            raise CorruptEntry(
                "the stored bytes must be an entry of kvwrap; they are another program's, or were "
                "altered: "
                + ("open the store with raw=True to read such" if has_raw else "replace them"),
                store=store,
                collection=collection,
                key=key,
            )
        _, form, c1, c0, e1, e0, version, n = _HEAD.unpack_from(data)
        if form != FORMAT:
            raise CorruptEntry(
                f"the entry's header must have format {FORMAT}; got format {form}, which "
                "another version of kvwrap may read",
                store=store,
                collection=collection,
                key=key,
            )
        start = _HEAD.size + n
        head, tail, body = data[:start], data[start : start + 4], data[start + 4 :]
        if tail != _CRC.pack(_checksum(collection, key, head, body)):
            raise CorruptEntry(
                "the stored bytes were altered, truncated, or written under another key",
                store=store,
                collection=collection,
                key=key,
            )
        expiry = e1 << 32 | e0
        return cls(
            body,
            head[_HEAD.size :],
            (c1 << 32 | c0) / 1000,
            None if expiry == _NEVER else expiry / 1000,
            version,
        )


def expiry_ms(expires_at: float | None) -> int:
    """Return an expiry time in the header's format: milliseconds, 0 for never."""
    if expires_at is None:
        return _NEVER
    # Rounded down, so that no entry lives longer than its ttl, except for the error of a float:
    # a time read from a header stays the same, however often it is written again.
    expiry = int(expires_at * 1000 + _NOISE)
    return expiry if 0 < expiry <= _LAST else max(1, min(expiry, _LAST))


def is_entry(data: bytes) -> bool:
    """Return True if the bytes begin like an entry; `Entry.from_bytes` checks the rest."""
    return data[:2] == MAGIC


def live(entry: Entry | None, now: float) -> Entry | None:
    """Return the entry, or None if it has expired by `now`."""
    if entry is None or entry.expires_at is None or entry.expires_at > now:
        return entry
    return None


def has_expired(data: bytes, now: float) -> bool:
    """Return True if the bytes have the header of an entry that has expired."""
    if not is_entry(data) or len(data) < _HEAD.size:
        return False
    expiry = int.from_bytes(data[9:15], "big")
    return expiry != _NEVER and expiry <= now * 1000


def version_and_expiry(data: bytes | memoryview) -> tuple[int, int] | None:
    """Return version and expiry time (Unix milliseconds, 0 for never) of the header of an entry.

    Returns None for bytes that are not an entry of this format. The checksum is not checked.
    """
    if len(data) < _HEAD.size:
        return None
    magic, form, _, _, e1, e0, version, _ = _HEAD.unpack_from(data)
    return (version, e1 << 32 | e0) if (magic, form) == (MAGIC, FORMAT) else None


def foreign(
    body: bytes,
    collection: str | None,
    key: str,
    now: float,
    expires_at: float | None,
    codec: bytes = b"",
) -> Entry:
    """Return an entry for bytes that another program wrote, with a `ForeignVersion`.

    Equal bytes under the same name have equal versions in this process.
    """
    digest = hashlib.sha1(foreign_salt(collection, key) + body, usedforsecurity=False).digest()
    return Entry(body, codec, now, expires_at, ForeignVersion.from_bytes(digest[:8], "big"))


def foreign_salt(collection: str | None, key: str) -> bytes:
    """Return the prefix to hash with a foreign value; the version is the first 8 bytes of SHA-1.

    SHA-1 is the only hash in a script of Redis. Because the prefix is secret, a version reveals
    nothing about the value, and nobody else can construct two values with equal versions.
    """
    names = _names(collection, key)
    return b"%b%d:%b" % (_SECRET, len(names), names)


def _checksum(collection: str | None, key: str, head: bytes, body: bytes) -> int:
    start = _checksum_of_collection(collection)
    return zlib.crc32(body, zlib.crc32(head, zlib.crc32(key.encode(), start)))


@lru_cache(maxsize=256)
def _checksum_of_collection(collection: str | None) -> int:
    return zlib.crc32(_names(collection, ""))


def _names(collection: str | None, key: str) -> bytes:
    # The length of the collection distinguishes ("ab", "c") from ("a", "bc"). It is plus one,
    # so that no collection has the number of the default one, 0.
    name = b"" if collection is None else collection.encode()
    return b"%d:%b%b" % (0 if collection is None else len(name) + 1, name, key.encode())
