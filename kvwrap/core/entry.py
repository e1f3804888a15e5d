"""An entry, and the bytes that it is at rest.

At rest an entry is a header, then the body. Integers are big-endian:

====== ===== =====================================================================
offset bytes meaning
====== ===== =====================================================================
0      2     magic, `AB 6B`
2      1     format of this header, 1
3      6     when it was made, milliseconds since 1970-01-01 UTC
9      6     when it expires, likewise, rounded down; 0 is never
15     8     version, a random number drawn anew for every write
23     1     length n of the codec
24     n     codec: what was done to the value, last step first (see `kvwrap.core.codec`)
24+n   4     CRC-32 of collection, key, header so far, and body (see `_checksum`)
28+n         body
====== ===== =====================================================================

The checksum takes the names in, so that an entry which lies under another key's
name is found out even where nothing is encrypted. It finds accidents; only
encryption finds intent.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

import msgspec

from kvwrap.errors import CorruptEntry

MAGIC = b"\xabk"
FORMAT = 1

_HEAD = struct.Struct(">2sBHIHIQB")
_CRC = struct.Struct(">I")
_NEVER = 0
_LAST = 2**48 - 1
_NOISE = 1e-6


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value as it travels through the layers: bytes, with its metadata.

    Attributes:
        body: The value as bytes, after the steps that `codec` names.
        codec: What was done to the value, last step first; see `kvwrap.core.codec`.
        created_at: When it was made, seconds since 1970-01-01 UTC.
        expires_at: When it expires, likewise; `None` is never.
        version: Equal only for the same write of the same key.
    """

    body: bytes
    codec: bytes
    created_at: float
    expires_at: float | None
    version: int

    def with_body(self, body: bytes, codec: bytes) -> Entry:
        """The same write with its value in another form."""
        return Entry(body, codec, self.created_at, self.expires_at, self.version)

    def with_expiry(self, expires_at: float | None, version: int | None = None) -> Entry:
        """The same value with another end; another version where the store's copy changes."""
        return Entry(
            self.body,
            self.codec,
            self.created_at,
            expires_at,
            self.version if version is None else version,
        )

    def to_bytes(self, collection: str | None, key: str) -> bytes:
        """Header and body, to be kept under this collection and key."""
        created = round(self.created_at * 1000)
        end = end_of(self.expires_at)
        codec = self.codec
        head = (
            _HEAD.pack(
                MAGIC,
                FORMAT,
                created >> 32,
                created & 0xFFFFFFFF,
                end >> 32,
                end & 0xFFFFFFFF,
                self.version,
                len(codec),
            )
            + codec
        )
        return b"".join((head, _CRC.pack(_checksum(collection, key, head, self.body)), self.body))

    @classmethod
    def from_bytes(cls, data: bytes, collection: str | None, key: str, store: str) -> Entry:
        """What `to_bytes` wrote under this collection and key.

        Raises:
            CorruptEntry: The bytes are not a whole entry of this collection and key.
        """
        try:
            magic, form, c1, c0, e1, e0, version, n = _HEAD.unpack_from(data)
        except struct.error:
            magic, form, c1, c0, e1, e0, version, n = b"", 0, 0, 0, 0, 0, 0, 0
        if magic != MAGIC:
            raise CorruptEntry(
                "the stored bytes are not an entry of kvwrap (open the store with raw=True to "
                "read what another program wrote)",
                store=store,
                collection=collection,
                key=key,
            )
        if form != FORMAT:
            raise CorruptEntry(
                f"the entry's header has format {form}, and this version of kvwrap reads {FORMAT}",
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
        end = e1 << 32 | e0
        return cls(
            body,
            head[_HEAD.size :],
            (c1 << 32 | c0) / 1000,
            None if end == _NEVER else end / 1000,
            version,
        )


def end_of(expires_at: float | None) -> int:
    """When an entry expires as its header has it: milliseconds, 0 for never."""
    if expires_at is None:
        return _NEVER
    # Down, so that no entry has more left than its ttl, but for what a float makes of a
    # moment: one that a header held stays the same, however often it is written again.
    nearest = round(expires_at * 1000)
    return max(1, min(nearest if nearest / 1000 <= expires_at + _NOISE else nearest - 1, _LAST))


def is_entry(data: bytes) -> bool:
    """Whether these bytes begin as an entry does; `from_bytes` tells whether they are one."""
    return data[:2] == MAGIC


def live(entry: Entry | None, now: float) -> Entry | None:
    """The entry, unless it has expired by now."""
    if entry is None or entry.expires_at is None or entry.expires_at > now:
        return entry
    return None


def has_expired(data: bytes, now: float) -> bool:
    """Whether these bytes are an entry, as far as its header goes, that has expired."""
    if not is_entry(data) or len(data) < _HEAD.size:
        return False
    end = int.from_bytes(data[9:15], "big")
    return end != _NEVER and end <= now * 1000


def foreign(body: bytes, now: float, expires_at: float | None, codec: bytes = b"") -> Entry:
    """An entry for what another program wrote; of equal bytes, the version is equal."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return Entry(body, codec, now, expires_at, int.from_bytes(digest[:8], "big"))


def _checksum(collection: str | None, key: str, head: bytes, body: bytes) -> int:
    # The length of the collection, plus one so that none differs from any, keeps
    # ("ab", "c") apart from ("a", "bc").
    name = b"" if collection is None else collection.encode()
    names = b"%d:%b%b" % (0 if collection is None else len(name) + 1, name, key.encode())
    return zlib.crc32(body, zlib.crc32(head, zlib.crc32(names)))
