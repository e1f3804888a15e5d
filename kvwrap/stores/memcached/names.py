"""Names of entries in memcached: at most 250 bytes, without spaces and control characters."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.heads import Head
from kvwrap.stores.shared.names import NameEncoding, unframe

LONGEST_NAMESPACE: Final = 40
_ALLOWED: Final = "".join(
    set(string.ascii_letters + string.digits + string.punctuation) - {":", "%"}
)
_COLLECTIONS: Final = NameEncoding(_ALLOWED, limit=72)
_KEYS: Final = NameEncoding(_ALLOWED, limit=118)


class Names:
    """The names in a namespace: `namespace:generation:collection:key`.

    A key or collection that is too long lies under a hash, and is kept in front of the entry.

    Args:
        namespace: The namespace, without a colon.

    Attributes:
        generation: The name of the namespace's generation on a server.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.generation = f"{namespace}:generation"

    def root(self, generation: str) -> str:
        """Return what all names of a generation begin with."""
        return f"{self._namespace}:{generation}:"

    def suffixes(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        """Return what the names of these keys have after the root."""
        prefix = _prefix(collection)
        return [prefix + key for key in _KEYS.encode_all(keys)]

    def prefix(self, collection: Collection) -> str:
        """Return what the suffixes of a collection begin with."""
        return _prefix(collection)

    def are_hashed(self, suffixes: Sequence[str]) -> bool:
        """Return False if no suffix has a hash, so that all values are entries as they are."""
        return _KEYS.is_hashed(" ".join(suffixes))

    def pack(self, suffix: str, collection: Collection, key: str, entry: bytes) -> bytes:
        """Return the value for an entry: its bytes, behind the names that are hashed."""
        if not _KEYS.is_hashed(suffix):  # nor is the collection, which is marked in the same way
            return entry
        token, _, rest = suffix.partition(":")
        return _COLLECTIONS.pack(token, collection or "", _KEYS.pack(rest, key, entry))

    def unpack(self, suffix: str, value: bytes) -> tuple[Collection, str | None, bytes]:
        """Return collection, key and entry of a value. There is no key if it is damaged.

        Raises:
            ValueError: The value has no names in front, as those that `pack` returns have.
        """
        token, _, rest = suffix.partition(":")
        collection: Collection = None
        if _COLLECTIONS.is_hashed(token):
            collection, value = unframe(value)
        elif token:
            collection = _COLLECTIONS.decode(token)
        if _KEYS.is_hashed(rest):
            key, value = unframe(value)
            return collection, key, value
        return collection, _KEYS.decode(rest), value

    def entry(self, suffix: str, value: bytes) -> bytes:
        """Return the bytes of the entry in a value.

        Raises:
            ValueError: As from `unpack`.
        """
        return self.unpack(suffix, value)[2] if _KEYS.is_hashed(suffix) else value

    def head(self, suffix: str, value: bytes) -> Head:
        """Return the head of the entry in a value."""
        try:
            return Head.of(self.entry(suffix, value))
        except ValueError:
            return Head()


@lru_cache(maxsize=256)
def _prefix(collection: Collection) -> str:
    return ("" if collection is None else _COLLECTIONS.encode(collection)) + ":"
