"""Subjects of a bucket: `$KV.bucket.collection.key`, in the characters that NATS allows."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

from kvwrap.core.changes import ALL, All
from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.names import NameEncoding

_DEFAULT: Final = "_"
"""The token of the default collection, which no collection's name has."""

_LONGEST: Final = 1024
"""Bytes of a token. A server takes lines of 4,096 bytes, which contain a subject and a reply."""

_NAMES: Final = NameEncoding(
    string.ascii_letters + string.digits + "-_/",
    limit=_LONGEST,
    escape="=",
    is_reserved=lambda encoded: encoded == _DEFAULT,
)


class Subjects:
    """The subjects of a bucket, and the names that they stand for.

    A name that is too long lies under a hash, and is kept in front of the value.

    Attributes:
        all: The pattern of all subjects of the bucket.
    """

    def __init__(self, bucket: str) -> None:
        self._root = f"$KV.{bucket}."
        self.all = f"{self._root}>"

    def prefix(self, collection: Collection) -> str:
        """Return what the subjects of a collection have in front of the key."""
        return f"{self._root}{_DEFAULT if collection is None else _NAMES.encode(collection)}."

    def of_keys(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        """Return the subjects of keys."""
        prefix = self.prefix(collection)
        return [prefix + _NAMES.encode(key) for key in keys]

    def frame(self, subject: str, collection: Collection, key: str, data: bytes) -> bytes:
        """Return what to store for an entry: its bytes, behind the names that are hashed."""
        token, _, rest = subject.removeprefix(self._root).partition(".")
        return _NAMES.pack(token, collection or "", _NAMES.pack(rest, key, data))

    def parse(self, subject: str, data: bytes) -> tuple[Collection, str, bytes] | None:
        """Return collection, key and the bytes of the entry, or None for one of another form.

        Args:
            subject: The subject.
            data: What `frame` returned for it.
        """
        token, _, rest = subject.removeprefix(self._root).partition(".")
        collection: Collection = None
        try:
            if token != _DEFAULT:
                collection, data = _NAMES.unpack(token, data)
            key, data = _NAMES.unpack(rest, data)
        except ValueError:
            return None
        if not key:
            return None
        return collection, key, data

    def is_hashed(self, subject: str) -> bool:
        """Return True if only what is kept with the value tells the names of a subject."""
        return _NAMES.is_hashed(subject)

    def dropped(self, collection: Collection | All) -> str:
        """Return the subject of messages that tell that a collection, or all, was dropped."""
        return f"{f'{self._root}=.' if collection is ALL else self.prefix(collection)}="

    def token(self, subject: str) -> str:
        """Return the token of a subject that stands for its collection."""
        return subject.removeprefix(self._root).partition(".")[0]
