"""All collections in one, for backends that have but one, or few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import unquote

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Finding,
    Layer,
    Renaming,
    Store,
    checked_name,
    checked_prefix,
    key_prefix_outside_hashed_keys,
    pages,
)

_REMEMBERED = 1024


class SingleCollection(Renaming):
    """Keeps every collection in the one given, with its name and a separator before its keys.

    The keys of the default collection begin with the separator itself. A collection's name
    in which the separator occurs, or that runs into it, is percent-encoded as far as needed,
    so that no two keys of different collections can meet. The collection given is this
    layer's alone: `destroy` drops it whole.

    Args:
        collection: Where everything lies; `None` is the store's default collection.
        separator: Stands between the collection's name and the key; does not begin with a
            percent sign, a digit or one of the letters A to F.
    """

    def __init__(self, collection: str | None, separator: str = "__") -> None:
        self.collection = None if collection is None else checked_name(collection, "a collection")
        self.separator = checked_prefix(separator)
        if separator[0] in "%0123456789ABCDEF":
            raise ConfigurationError(
                "a separator does not begin with a percent sign, a digit or one of A to F, which "
                f"stand in encoded names: not {separator!r}"
            )
        self._prefix = lru_cache(_REMEMBERED)(self._made_prefix)

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return self.collection, self._prefix(collection)

    def _made_prefix(self, collection: Collection) -> str:
        # The separator must not be found before the place where it is put: then the first one
        # in a key tells where the collection's name ends, whatever the key itself is.
        name, separator = collection or "", self.separator
        if "%" in name or (name + separator).find(separator) < len(name):
            mark = separator[0]
            name = name.replace("%", "%25").replace(mark, _encoded(mark))
        return name + separator

    async def list_collections(self) -> list[Collection]:
        """The collections that keys are found of; all keys are listed for it."""
        found: dict[Collection, None] = {}
        async for page in pages(self.inner, self.collection):
            for key in page.keys:
                name, separator, rest = key.partition(self.separator)
                if separator and rest:
                    found[unquote(name) or None] = None
        return list(found)

    @property
    def capabilities(self) -> Capabilities:
        inside = self.inner.capabilities
        found = inside - {
            Capability.COLLECTIONS,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
        }
        if Capability.KEYS in inside:
            found |= {Capability.COLLECTIONS, Capability.DESTROY_COLLECTION, Capability.DESTROY}
        elif Capability.DESTROY_COLLECTION in inside:
            found |= {Capability.DESTROY}
        return found

    async def drop_all(self) -> bool:
        if Capability.DESTROY_COLLECTION in self.inner.capabilities:
            return await self.inner.drop(self.collection)
        return await self._drop_keys(self.collection, "")

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from key_prefix_outside_hashed_keys(self, below)


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
