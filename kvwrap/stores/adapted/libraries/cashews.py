"""Caches of cashews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvwrap.stores.adapted.adapter import PLAIN, AsyncAdapter
from kvwrap.stores.adapted.forms import OBJECTS


class CashewsAdapter(AsyncAdapter):
    """Adapts a cache of cashews, or one of its backends.

    Its `get_many` is not used: it leaves out sets of bits, and returns the other values in their
    places.
    """

    kind = "cache of cashews"
    classes = ("cashews.backends.interface:_BackendInterface",)
    package = "cashews"
    needs = ("get", "set_many", "delete_many", "scan", "get_expire")
    form = OBJECTS
    names = PLAIN
    has_ttl = True
    tells_ttl = True

    async def get(self, name: str) -> Any:
        return await self._obj.get(name)

    async def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        await self._obj.set_many(dict(values), expire=ttl)

    async def delete_many(self, names: Sequence[str]) -> None:
        await self._obj.delete_many(*names)

    async def list_names(self) -> list[str]:
        return [name async for name in self._obj.scan("*")]

    async def lifetimes(self, names: Sequence[str]) -> list[float | None]:
        seconds = [await self._obj.get_expire(name) for name in names]
        return [None if each < 0 else each for each in seconds]
