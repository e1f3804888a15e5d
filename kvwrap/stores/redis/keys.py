"""Names of keys in Redis, and the patterns that find them."""

from __future__ import annotations

import re

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.escaping import escaped, unescaped


class Names:
    """Keys of Redis as `namespace:collection:key`.

    `%` and `:` in the first two are escaped, so that neither two collections nor two
    namespaces ever share a key, and a name can be read back.
    """

    def __init__(self, namespace: str) -> None:
        self.start = escaped(namespace) + ":"

    def prefix(self, collection: Collection) -> str:
        """What the names of a collection begin with."""
        return f"{self.start}{'' if collection is None else escaped(collection)}:"

    @staticmethod
    def collection(rest: str) -> Collection:
        """The collection that a name belongs to, whose part after `start` is given."""
        return unescaped(rest.partition(":")[0]) or None


class RawNames(Names):
    """Keys of Redis as another program has them: `key`, or `collection:key`."""

    def __init__(self) -> None:
        self.start = ""

    def prefix(self, collection: Collection) -> str:
        return "" if collection is None else f"{collection}:"


def pattern(prefix: str) -> bytes:
    """The pattern that matches what begins with the prefix, whatever characters are in it."""
    return re.sub(r"([*?\[\\])", r"\\\1", prefix).encode() + b"*"


def as_text(name: bytes) -> str:
    """The name of a key as text; other programs' names need not be any."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""
