"""Add a prefix to collection names, so that several programs can share a backend."""

from __future__ import annotations

from kvwrap.layers.base import Collection, Passage, QualifiedKey, Renaming, checked_prefix


class PrefixCollection(Renaming):
    """Adds `prefix` to the name of every collection.

    The default collection is stored in the collection whose name is the prefix itself.
    `collections` returns the names without the prefix. `destroy` drops the collections with
    the prefix and nothing else. Reserved collections get the prefix like any other, so every
    prefix has its own records, such as compression dictionaries. No prefix may be the
    beginning of another one used in the same backend: end it with a separator.

    Args:
        prefix: At least one character.
    """

    passage = Passage(read="gets the prefix before its collection", names="prefixed collection")

    prefixes_keys = False
    is_fixed = True

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_prefix(prefix, "prefix")

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return (self.prefix if collection is None else self.prefix + collection), ""

    def original(self, collection: Collection, key: str) -> QualifiedKey | None:
        if collection is None or not collection.startswith(self.prefix):
            return None
        return collection[len(self.prefix) :] or None, key

    async def list_collections(self) -> list[Collection]:
        start = len(self.prefix)
        return [
            name[start:] or None
            for name in await self.inner.list_collections()
            if name is not None and name.startswith(self.prefix)
        ]
