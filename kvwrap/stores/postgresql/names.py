"""Names as the columns of the table hold them: bytes, since text cannot contain NUL.

The bytes of UTF-8 sort as the code points do. An index holds about 2,700 bytes a row, so a longer
key is divided, and a longer collection lies under a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.stores.shared.names import NameEncoding

LIMIT: Final = 1024
"""Maximum number of bytes of a key or a collection in the index."""

AFTER_ALL_KEYS: Final = b"\xff"
"""Bytes that sort after every name, since UTF-8 has no such byte."""

_COLLECTIONS: Final = NameEncoding(None, limit=LIMIT)


class Keys(NamedTuple):
    """Keys in the columns. Pairs of head and rest sort as the keys do.

    Attributes:
        heads: The first 1,024 bytes of each key.
        digests: SHA-256 of what follows them; empty if nothing does.
        rests: What follows them.
        ids: What identifies each key in its collection: head and digest.
    """

    heads: list[bytes]
    digests: list[bytes]
    rests: list[bytes]
    ids: list[bytes]


def divide(keys: Sequence[str]) -> Keys:
    """Return keys as the columns hold them."""
    heads = [key.encode() for key in keys]
    if max(map(len, heads), default=0) <= LIMIT:
        nothing = [b""] * len(heads)
        return Keys(heads, nothing, nothing, heads)
    pairs = list(map(split, heads))
    digests = [hashlib.sha256(rest).digest() if rest else b"" for _, rest in pairs]
    ids = [head + digest for (head, _), digest in zip(pairs, digests)]
    return Keys([head for head, _ in pairs], digests, [rest for _, rest in pairs], ids)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return head and rest of the bytes of a key."""
    return data[:LIMIT], data[LIMIT:]


class CollectionName(NamedTuple):
    """A collection in the columns.

    Attributes:
        encoded: Its name in the index; empty for the default collection.
        whole: The whole name if `encoded` has a hash, else None.
    """

    encoded: bytes
    whole: bytes | None


_DEFAULT: Final = CollectionName(b"", None)


@lru_cache(maxsize=256)
def encode_collection(collection: Collection) -> CollectionName:
    """Return a collection as the columns hold it."""
    if collection is None:
        return _DEFAULT
    encoded = _COLLECTIONS.encode(collection)
    whole = collection.encode() if _COLLECTIONS.is_hashed(encoded) else None
    return CollectionName(encoded.encode(), whole)


def decode_collection(encoded: bytes, whole: bytes | None) -> Collection:
    """Return the collection of these columns.

    Raises:
        ValueError: They hold no collection.
    """
    if not encoded:
        return None
    if whole is not None:
        return whole.decode()
    name = _COLLECTIONS.decode(encoded.decode())
    if name is None:
        raise ValueError("not a collection")
    return name


def bounds(key_range: KeyRange) -> tuple[bytes, bytes, bytes, bytes]:
    """Return head and rest of the least key of a range, and of what all its keys are less than."""
    prefix = key_range.prefix.encode()
    first = max(prefix, (key_range.start or "").encode())
    # No prefix ends with the byte 0xff, so the last byte can be raised.
    last = prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else AFTER_ALL_KEYS
    if key_range.end is not None:
        last = min(last, key_range.end.encode())
    return *split(first), *split(last)
