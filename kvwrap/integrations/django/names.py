"""Names as the columns hold them: bytes of UTF-8, which sort as code points do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.ranges import prefix_end
from kvwrap.errors import InvalidKey

LIMIT: Final = 1280
"""Maximum number of bytes of a key or a collection: both are in one index.

PostgreSQL's indexes hold about 2,700 bytes a row.
"""

_AFTER_ALL: Final = b"\xff"
"""Bytes that sort after every name, since UTF-8 has no such byte."""


def encode_collection(collection: Collection, *, store: str) -> bytes:
    """Return a collection as the column holds it; the default one is empty.

    Raises:
        InvalidKey: The name is longer than the column.
    """
    return b"" if collection is None else _encode(collection, "collection", store)


def decode_collection(data: bytes | memoryview) -> Collection:
    """Return the collection that the column holds."""
    return bytes(data).decode(errors="replace") or None


def encode_keys(keys: Sequence[str], *, store: str) -> list[bytes]:
    """Return keys as the column holds them.

    Raises:
        InvalidKey: One is longer than the column.
    """
    return [_encode(key, "key", store) for key in keys]


def bounds(key_range: KeyRange) -> tuple[bytes, bytes]:
    """Return the least key of a range, and what all its keys are less than."""
    first = max(key_range.prefix, key_range.start or "")
    ends = [end for end in (key_range.end, prefix_end(key_range.prefix)) if end is not None]
    return first.encode(), min(ends).encode() if ends else _AFTER_ALL


def _encode(name: str, kind: str, store: str) -> bytes:
    data = name.encode()
    if len(data) > LIMIT:
        raise InvalidKey(
            f"a {kind} must have at most {LIMIT:,} bytes of UTF-8, as many as an index of the "
            f"database holds; got {len(data):,}: shorten it, or use the layer HashedKey",
            store=store,
        )
    return data
