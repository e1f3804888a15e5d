"""Names of keys in Redis, and the patterns that find them."""

from __future__ import annotations

import re

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.escaping import KeyNames


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
