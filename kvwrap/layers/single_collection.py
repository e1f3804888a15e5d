"""Keep all collections in one, for backends that have only one or few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Finding,
    Layer,
    Passage,
    QualifiedKey,
    Renaming,
    Store,
    checked_name,
    checked_place,
    is_reserved,
    key_prefix_outside_hashed_keys,
    may_be_reserved,
    pages,
)


class SingleCollection(Renaming):
    """Keeps every collection in one, with the collection's name and a separator before its keys.

    The keys of the default collection begin with the separator. A collection's name is
    percent-encoded as far as needed if it contains the separator or a percent sign, or if its
    end would form a separator with the one that follows, or if its keys could begin with
    `kvwrap.`, which is reserved. So keys of different collections never collide. The collection
    given belongs to this layer alone: `destroy` drops it whole.

    Args:
        collection: The collection that holds everything; `None` is the store's default
            collection.
        separator: Text between the collection's name and the key. It must not begin with a
            percent sign, a digit or a letter from A to F.
    """

    passage = Passage(read="gets its collection before its key", names="collection in the key")
    finding_codes = frozenset({"key-prefix-outside-hashed-keys"})
    is_fixed = True

    def __init__(self, collection: str | None, separator: str = "__") -> None:
        self.collection = None if collection is None else checked_place(collection, "collection")
        self.separator = checked_name(separator, "separator")
        if separator[0] in "%0123456789ABCDEF":
            raise ConfigurationError(
                "`separator` must not begin with a percent sign, a digit or a letter from A to F, "
                f"because encoded names contain these; got {separator!r}"
            )
        if may_be_reserved(separator):
            raise ConfigurationError(
                "`separator` must not make keys that begin with 'kvwrap.', which are reserved for "
                f"the records of layers; got {separator!r}: choose another, such as '__'"
            )

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        # The separator must not occur before the position where it is put. So the first one in
        # a key always ends the collection's name, whatever the key contains.
        name, separator = collection or "", self.separator
        if "%" in name or (name + separator).find(separator) < len(name):
            first = separator[0]
            name = name.replace("%", "%25").replace(first, _percent_encode(first))
        prefix = name + separator
        if may_be_reserved(prefix) and not is_reserved(collection):
            prefix = _percent_encode(prefix[0]) + prefix[1:]
        return self.collection, prefix

    async def list_collections(self) -> list[Collection]:
        """List the collections that have keys. Reads the names of all keys."""
        names: dict[Collection, None] = {}
        async for page in pages(self.inner, self.collection):
            for stored_key in page.keys:
                original = self.original(self.collection, stored_key)
                if original is not None:
                    names[original[0]] = None
        return list(names)

    def original(self, collection: Collection, key: str) -> QualifiedKey | None:
        if collection != self.collection:
            return None
        name, _, rest = key.partition(self.separator)
        return (unquote(name) or None, rest) if rest else None

    @property
    def capabilities(self) -> Capabilities:
        inside = self.inner.capabilities
        capabilities = inside - {
            Capability.COLLECTIONS,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
        }
        if Capability.KEYS in inside:
            capabilities |= {
                Capability.COLLECTIONS,
                Capability.DESTROY_COLLECTION,
                Capability.DESTROY,
            }
        elif Capability.DESTROY_COLLECTION in inside:
            capabilities |= {Capability.DESTROY}
        return capabilities

    async def drop_all(self) -> bool:
        if Capability.DESTROY_COLLECTION in self.inner.capabilities:
            return await self.inner.drop(self.collection)
        return await self._drop_keys(self.collection, "")

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from key_prefix_outside_hashed_keys(self, below)


def _percent_encode(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
