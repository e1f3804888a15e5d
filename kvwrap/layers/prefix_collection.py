"""Collections under a prefix of their own, so that several programs can share a backend."""

from __future__ import annotations

from kvwrap.layers.base import Collection, Renaming, checked_prefix


class PrefixCollection(Renaming):
    """Puts every collection under a name that begins with `prefix`.

    The default collection lies in the one called like the prefix itself. `collections`
    gives the names back without the prefix, and `destroy` drops what lies under it and
    nothing else. No prefix may be the beginning of another one used in the same backend, so
    end it with a separator.

    Args:
        prefix: At least one character.
    """

    prefixes_keys = False

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_prefix(prefix)

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return (self.prefix if collection is None else self.prefix + collection), ""

    async def list_collections(self) -> list[Collection]:
        start = len(self.prefix)
        return [
            name[start:] or None
            for name in await self.inner.list_collections()
            if name is not None and name.startswith(self.prefix)
        ]
