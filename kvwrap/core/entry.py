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
24+n   4     CRC-32 of collection, key, header so far, and body (see `_names`)
28+n         body
====== ===== =====================================================================

The checksum covers the names, so an entry stored under another key is detected even
without encryption. It detects accidents; only encryption detects tampering.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import inf
from zlib import crc32

import msgspec

from kvwrap.core.randomness import new_version
from kvwrap.errors import CorruptEntry

MAGIC = b"\xabk"
FORMAT = 2

_HEAD = struct.Struct(">3sHIHIQB")
_unpack_head = _HEAD.unpack_from
_HEAD_BYTES = _HEAD.size
_LENGTH_AT = _HEAD_BYTES - 1
_START = struct.Struct(">3sHIHI")
_pack_start, _unpack_start = _START.pack, _START.unpack
_pack_rest = struct.Struct(">15sQB").pack
_pack_crc = struct.Struct(">I").pack
_unpack_by_length = [struct.Struct(f">15sQB{n}sI").unpack_from for n in range(256)]
"""What parses a header up to the checksum, by the length of the codec."""
_FORM = MAGIC + bytes((FORMAT,))
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
        return dump_entries((self,), collection, (key,))[0]

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
        (entry,) = parse_entries((data,), collection, (key,), store, -inf, has_raw=has_raw)
        assert entry is not None
        return entry


def with_lasting_versions(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return entries whose versions may be stored: what `with_lasting_version` returns of each."""
    if ForeignVersion not in {type(entry.version) for entry in entries}:
        return entries
    return [entry.with_lasting_version() for entry in entries]


def dump_entries(
    entries: Iterable[Entry], collection: str | None, keys: Iterable[str]
) -> list[bytes]:
    """Return what `to_bytes` returns for each entry of a batch, in half of the time."""
    names = _checksum_of_collection(collection)
    created_at = expires_at = None
    start = b""
    stored: list[bytes] = []
    for entry, key in zip(entries, keys):
        # The entries of a batch were mostly put together, so their times are the same.
        if entry.created_at != created_at or entry.expires_at != expires_at:
            created_at, expires_at = entry.created_at, entry.expires_at
            start = _start(created_at, expires_at)
        codec, version, body = entry.codec, entry.version, entry.body
        if type(version) is not int:
            version = new_version()
        head = _pack_rest(start, version, len(codec)) + codec
        checksum = crc32(body, crc32(key.encode() + head, names))
        stored.append(head + _pack_crc(checksum) + body)
    return stored


def parse_entries(
    stored: Iterable[bytes | None],
    collection: str | None,
    keys: Iterable[str],
    store: str,
    now: float,
    *,
    has_raw: bool = False,
) -> list[Entry | None]:
    """Return the entries in what is stored under these keys.

    A key has None if nothing is stored (None), or an entry that has expired by `now`. `has_raw`
    tells the same as for `Entry.from_bytes`.

    Raises:
        CorruptEntry: Some bytes are not a whole entry of this collection and their key.
    """
    names = _checksum_of_collection(collection)
    entries: list[Entry | None] = []
    created_at, last = 0.0, b""
    expires_at: float | None = None
    is_live = True
    for data, key in zip(stored, keys):
        if data is None:
            entries.append(None)
            continue
        try:
            start, version, n, codec, checksum = _unpack_by_length[data[_LENGTH_AT]](data)
        except (struct.error, IndexError):  # too short
            raise _refusal(data, store, collection, key, has_raw=has_raw) from None
        end = _HEAD_BYTES + n
        body = data[end + 4 :]
        if crc32(body, crc32(key.encode() + data[:end], names)) != checksum:
            raise _refusal(data, store, collection, key, has_raw=has_raw)
        if start != last:  # as above
            form, c1, c0, e1, e0 = _unpack_start(start)
            if form != _FORM:
                raise _refusal(data, store, collection, key, has_raw=has_raw)
            last, created_at = start, (c1 << 32 | c0) / 1000
            expires_at = (e1 << 32 | e0) / 1000 if e0 or e1 else None
            is_live = expires_at is None or expires_at > now
        entries.append(Entry(body, codec, created_at, expires_at, version) if is_live else None)
    return entries


def _start(created_at: float, expires_at: float | None) -> bytes:
    """Return a header up to the version."""
    created, expiry = round(created_at * 1000), expiry_ms(expires_at)
    return _pack_start(
        _FORM, created >> 32, created & 0xFFFFFFFF, expiry >> 32, expiry & 0xFFFFFFFF
    )


def _refusal(
    data: bytes, store: str, collection: str | None, key: str, *, has_raw: bool
) -> CorruptEntry:
    """Return the error for bytes that are not a whole entry of this collection and key."""
    problem = "the stored bytes were altered, truncated, or written under another name"
    if not is_entry(data) or len(data) < _HEAD_BYTES:
        problem = (
            "the stored bytes must be an entry of kvwrap; they are another program's, or were "
            "altered: "
            + ("open the store with raw=True to read such" if has_raw else "replace them")
        )
    elif data[2] != FORMAT:
        problem = (
            f"the entry's header must have format {FORMAT}; got format {data[2]}, which another "
            "version of kvwrap may read"
        )
    return CorruptEntry(problem, store=store, collection=collection, key=key)


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
    if not is_entry(data) or len(data) < _HEAD_BYTES:
        return False
    expiry = int.from_bytes(data[9:15], "big")
    return expiry != _NEVER and expiry <= now * 1000


def version_and_expiry(data: bytes | memoryview) -> tuple[int, int] | None:
    """Return version and expiry time (Unix milliseconds, 0 for never) of the header of an entry.

    Returns None for bytes that are not an entry of this format. The checksum is not checked.
    """
    if len(data) < _HEAD_BYTES:
        return None
    form, _, _, e1, e0, version, _ = _unpack_head(data)
    return (version, e1 << 32 | e0) if form == _FORM else None


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


@lru_cache(maxsize=256)
def _checksum_of_collection(collection: str | None) -> int:
    return crc32(_names(collection, ""))


def _names(collection: str | None, key: str) -> bytes:
    # The length of the collection distinguishes ("ab", "c") from ("a", "bc"). It is plus one,
    # so that no collection has the number of the default one, 0.
    name = b"" if collection is None else collection.encode()
    return b"%d:%b%b" % (0 if collection is None else len(name) + 1, name, key.encode())
