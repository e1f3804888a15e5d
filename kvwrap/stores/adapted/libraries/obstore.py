"""Object stores of obstore, and every other object with its methods."""

from __future__ import annotations

from typing import Any

from kvwrap.stores.adapted.adapter import FILE_NAMES, AsyncAdapter


class ObstoreAdapter(AsyncAdapter):
    """Adapts an object store of obstore.

    Its conditional puts are not used: a removal cannot have a condition there.
    """

    kind = "object store of obstore"
    classes = tuple(
        f"obstore.store:{name}"
        for name in ("AzureStore", "GCSStore", "HTTPStore", "LocalStore", "MemoryStore", "S3Store")
    )
    package = "obstore"
    needs = ("get_async", "put_async", "delete_async", "list")
    names = FILE_NAMES

    async def get(self, name: str) -> Any:
        try:
            found = await self._obj.get_async(name)
        except FileNotFoundError:
            return None
        return bytes(await found.bytes_async())

    async def set(self, name: str, value: Any, ttl: int | None) -> None:
        await self._obj.put_async(name, value)

    async def delete(self, name: str) -> None:
        try:
            await self._obj.delete_async(name)
        except FileNotFoundError:
            return

    async def list_names(self) -> list[str]:
        return [meta["path"] async for page in self._obj.list() for meta in page]
