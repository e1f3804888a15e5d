"""A layer that takes abilities away from a store, as a lesser backend would lack them."""

from __future__ import annotations

from kvwrap import Capability, Passthrough
from kvwrap.core.capability import Capabilities
from kvwrap.core.primitives import Collection, KeyRange, Page


class Without(Passthrough):
    def __init__(self, *lost: Capability) -> None:
        self.lost = frozenset(lost)

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities - self.lost

    def _check(self, wanted: Capability) -> None:
        if wanted in self.lost:
            raise self.unsupported(wanted)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        self._check(Capability.KEYS)
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        self._check(Capability.COLLECTIONS)
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        self._check(Capability.DESTROY_COLLECTION)
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        self._check(Capability.DESTROY)
        return await self.inner.drop_all()
