"""Base class of layers that keep records of their own beside the data."""

from __future__ import annotations

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection


class Keeping(Layer):
    """A layer with records in the collections `reserved` of `inner`.

    The names of these collections begin with `kvwrap.`, so users cannot reach them. This class
    leaves them out of what is listed, and in place when everything is dropped: other processes
    may need the records.

    Attributes:
        keeps_records: True if this layer writes records. Other processes may write them in any
            case.
    """

    keeps_records = False

    async def list_collections(self) -> list[Collection]:
        names = await self.inner.list_collections()
        return [name for name in names if name not in self.reserved]

    async def drop_all(self) -> bool:
        """Drop everything but the records."""
        if Capability.COLLECTIONS not in self.inner.capabilities:
            if self.keeps_records:
                raise self.unsupported(
                    "destroy everything but its records: the store cannot enumerate collections"
                )
            return await self.inner.drop_all()
        names = await self.inner.list_collections()
        if not self.keeps_records and not set(self.reserved) & set(names):
            return await self.inner.drop_all()
        return any([await self.inner.drop(name) for name in names if name not in self.reserved])

    @property
    def capabilities(self) -> Capabilities:
        capabilities = self.inner.capabilities
        needed = {Capability.COLLECTIONS, Capability.DESTROY_COLLECTION}
        if self.keeps_records and not needed <= capabilities:
            return capabilities - {Capability.DESTROY}
        return capabilities
