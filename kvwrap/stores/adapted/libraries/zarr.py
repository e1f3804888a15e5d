"""Stores of Zarr 3: every `zarr.abc.store.Store`."""

from __future__ import annotations

import sys
from typing import Any

from kvwrap.stores.adapted.adapter import FILE_NAMES, AsyncAdapter


class ZarrAdapter(AsyncAdapter):
    """Adapts a store of Zarr. It has no conditional write that tells whether it happened."""

    kind = "store of Zarr"
    classes = ("zarr.abc.store:Store",)
    package = "zarr"
    needs = ("get", "set", "delete", "list")
    names = FILE_NAMES

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        self.lists = bool(obj.supports_listing)
        self.deletes = bool(obj.supports_deletes)
        # It is loaded, since there is one of its objects.
        self._buffers = sys.modules["zarr.core.buffer"].default_buffer_prototype()

    async def get(self, name: str) -> Any:
        found = await self._obj.get(name, self._buffers)
        return None if found is None else found.to_bytes()

    async def set(self, name: str, value: Any, ttl: int | None) -> None:
        await self._obj.set(name, self._buffers.buffer.from_bytes(value))

    async def delete(self, name: str) -> None:
        await self._obj.delete(name)

    async def list_names(self) -> list[str]:
        return [name async for name in self._obj.list()]
