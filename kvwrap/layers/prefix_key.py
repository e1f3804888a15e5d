"""Add a prefix to keys, so that several programs can share collections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    checked_prefix,
    holds_any,
    key_prefix_outside_hashed_keys,
)


class PrefixKey(Renaming):
    """Adds `prefix` to every key, in every collection.

    Enumerations return keys without the prefix, and never the keys of other programs.
    `destroy` drops the keys with the prefix and nothing else. No prefix may be the beginning
    of another one used in the same backend: end it with a separator with which no key begins.

    Args:
        prefix: At least one character.
    """

    passage = Passage(read="gets the prefix before its key", names="prefixed key")
    finding_codes = frozenset({"key-prefix-outside-hashed-keys"})
    is_fixed = True

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_prefix(prefix, "prefix")

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return collection, self.prefix

    def original(self, collection: Collection, key: str) -> QualifiedKey | None:
        if not key.startswith(self.prefix) or key == self.prefix:
            return None
        return collection, key[len(self.prefix) :]

    @property
    def capabilities(self) -> Capabilities:
        """As for `Renaming`. Collections are enumerated by their keys, so that needs `KEYS`."""
        capabilities = super().capabilities
        if Capability.KEYS not in capabilities:
            capabilities -= {Capability.COLLECTIONS}
        return capabilities

    async def list_collections(self) -> list[Collection]:
        if Capability.KEYS not in self.inner.capabilities:
            raise self.unsupported(
                "enumerate its collections over a store that cannot enumerate keys"
            )
        return [name for name in await self.inner.list_collections() if await holds_any(self, name)]

    async def drop_all(self) -> bool:
        names = await self.inner.list_collections()
        return any([await self.drop(name) for name in names])

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from key_prefix_outside_hashed_keys(self, below)
