"""The names of keys in an LMDB database, which sorts them by their bytes.

A name is the collection, then the key. It has at most 503 of the 511 bytes that LMDB allows, so
that the index of expiries can have the time in front.

========== ======================================================================
part       bytes
========== ======================================================================
collection `00` for the default one; its length (1 to 100), then its UTF-8;
           or `FF`, then its hash, if it is longer
key        its UTF-8; or the first 370 bytes of it, then its hash, if it is longer
========== ======================================================================

Hashes have 32 bytes (BLAKE2b). A key or collection that is hashed is kept whole in front of the
entry (`kvwrap.stores.shared.names.frame`), the collection first. So keys sort by their code
points, except that hashed keys whose first 370 bytes are equal sort by their hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.names import frame, unframe

COLLECTION_LIMIT: Final = 100
KEY_LIMIT: Final = 370
_DIGEST_BYTES: Final = 32
_DEFAULT: Final = b"\x00"
_HASHED: Final = b"\xff"
_TIME_BYTES: Final = 8

Value = bytes | memoryview


def prefix_of(collection: Collection) -> bytes:
    """Return what all names of a collection begin with, and no name of another one."""
    if collection is None:
        return _DEFAULT
    encoded = collection.encode()
    if len(encoded) <= COLLECTION_LIMIT:
        return bytes((len(encoded),)) + encoded
    return _HASHED + _digest(encoded)


def names_of(prefix: bytes, keys: Sequence[str]) -> list[bytes]:
    """Return the names of keys in the collection with this prefix."""
    names = [prefix + key.encode() for key in keys]
    longest = len(prefix) + KEY_LIMIT
    if max(map(len, names), default=0) > longest:
        names = [name_of(prefix, key) for key in keys]
    return names


def name_of(prefix: bytes, key: str) -> bytes:
    """Return the name of a key in the collection with this prefix."""
    encoded = key.encode()
    if len(encoded) <= KEY_LIMIT:
        return prefix + encoded
    return prefix + encoded[:KEY_LIMIT] + _digest(encoded)


def prefix_in(name: bytes) -> bytes:
    """Return the prefix of the collection that a name belongs to."""
    return name[: 1 + (_DIGEST_BYTES if name[:1] == _HASHED else name[0])]


def unframed_length(prefix: bytes) -> int:
    """Return the length of the longest name with this prefix under which `pack` adds nothing."""
    return 0 if prefix[:1] == _HASHED else len(prefix) + KEY_LIMIT


def pack(name: bytes, collection: Collection, key: str, entry: bytes) -> bytes:
    """Return the value to store under a name: the entry, behind what is hashed in the name."""
    prefix = prefix_in(name)
    if _hashes_key(name, prefix):
        entry = frame(key, entry)
    return frame(collection or "", entry) if prefix[:1] == _HASHED else entry


def unpack(name: bytes, value: Value) -> tuple[str | None, str | None, Value]:
    """Return the collection and the key, each if it is hashed in the name, and the entry.

    Raises:
        ValueError: The value has no names in front, as those that `pack` returns have.
    """
    prefix = prefix_in(name)
    collection = key = None
    if prefix[:1] == _HASHED:
        collection, value = unframe(bytes(value))
    if _hashes_key(name, prefix):
        key, value = unframe(bytes(value))
    return collection, key, value


def collection_of(name: bytes, value: Value) -> Collection:
    """Return the collection that a name belongs to.

    Raises:
        ValueError: It is not UTF-8, or missing in front of the value.
    """
    prefix = prefix_in(name)
    return unpack(name, value)[0] if prefix[:1] == _HASHED else prefix[1:].decode() or None


def key_of(name: bytes, value: Value) -> bytes:
    """Return the key that has this name, in UTF-8.

    Raises:
        ValueError: It is missing in front of the value.
    """
    prefix = prefix_in(name)
    if _hashes_key(name, prefix):
        return (unpack(name, value)[1] or "").encode()
    return name[len(prefix) :]


def after(prefix: bytes) -> bytes:
    """Return the least bytes that sort after all those with this prefix, which is not all FF."""
    prefix = prefix.rstrip(b"\xff")
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def expiry_name(expiry: int, name: bytes) -> bytes:
    """Return the name in the index of expiries: the time in milliseconds, then the name."""
    return expiry.to_bytes(_TIME_BYTES, "big") + name


def parse_expiry(indexed: bytes) -> tuple[int, bytes]:
    """Return the time and the name that `expiry_name` was called with."""
    return int.from_bytes(indexed[:_TIME_BYTES], "big"), indexed[_TIME_BYTES:]


def _hashes_key(name: bytes, prefix: bytes) -> bool:
    return len(name) > len(prefix) + KEY_LIMIT


def _digest(name: bytes) -> bytes:
    return hashlib.blake2b(name, digest_size=_DIGEST_BYTES).digest()
