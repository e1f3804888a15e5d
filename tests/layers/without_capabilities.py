"""A layer that removes capabilities, so that a store behaves like one with fewer."""

from __future__ import annotations

from kvwrap import Capability, Passthrough
from kvwrap.core.capability import Capabilities
from kvwrap.core.primitives import Collection, KeyRange, Page


class WithoutCapabilities(Passthrough):
    """Removes these capabilities, and refuses the operations that need them."""

    def __init__(self, *removed: Capability) -> None:
        self.removed = frozenset(removed)

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities - self.removed

    def _require(self, capability: Capability) -> None:
        if capability in self.removed:
            raise self.unsupported(capability)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        self._require(Capability.KEYS)
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        self._require(Capability.COLLECTIONS)
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        self._require(Capability.DESTROY_COLLECTION)
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        self._require(Capability.DESTROY)
        return await self.inner.drop_all()
