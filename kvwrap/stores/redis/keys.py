"""Names of keys in Redis, and the patterns that find them."""

from __future__ import annotations

import re

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.escaping import escape, unescape


class KeyNames:
    """Keys of Redis as `namespace:collection:key`.

    `%` and `:` in the first two are escaped, so that neither two collections nor two namespaces
    share a key, and a name can be parsed.

    Attributes:
        root: What every name begins with.
    """

    def __init__(self, namespace: str) -> None:
        self.root = escape(namespace) + ":"

    def prefix(self, collection: Collection) -> str:
        """Return the prefix that the names of a collection have."""
        return f"{self.root}{'' if collection is None else escape(collection)}:"

    @staticmethod
    def collection_of(name: str) -> Collection:
        """Return the collection of a name, which is given without `root`."""
        return unescape(name.partition(":")[0]) or None


class RawKeyNames(KeyNames):
    """Keys of Redis as another program has them: `key`, or `collection:key`."""

    def __init__(self) -> None:
        self.root = ""

    def prefix(self, collection: Collection) -> str:
        return "" if collection is None else f"{collection}:"


def pattern(prefix: str) -> bytes:
    """Return the pattern that matches all names with the prefix, whatever characters it has."""
    return re.sub(r"([*?\[\\])", r"\\\1", prefix).encode() + b"*"


def as_text(name: bytes) -> str:
    """Return the name of a key as text, or an empty text if it is not UTF-8."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""
