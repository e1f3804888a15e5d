"""Caches of aiocache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvwrap.stores.adapted.adapter import PLAIN, AsyncAdapter, class_names, found
from kvwrap.stores.adapted.forms import OBJECTS, TEXT


class AiocacheAdapter(AsyncAdapter):
    """Adapts a cache of aiocache.

    Entries are bytes where its serializer is the one of pickles, or the cache is in memory and has
    none. Every other serializer takes text.
    """

    kind = "cache of aiocache"
    classes = ("aiocache.base:BaseCache",)
    package = "aiocache"
    needs = ("multi_get", "multi_set", "delete")
    names = PLAIN
    has_ttl = True
    lists = False

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        serializer = set(class_names(getattr(obj, "serializer", None)))
        in_memory = "aiocache.backends.memory:SimpleMemoryBackend" in class_names(obj)
        keeps_bytes = "aiocache.serializers.serializers:PickleSerializer" in serializer or (
            in_memory and "aiocache.serializers.serializers:NullSerializer" in serializer
        )
        self.form = OBJECTS if keeps_bytes else TEXT

    async def get_many(self, names: Sequence[str]) -> dict[str, Any]:
        return found(names, await self._obj.multi_get(names))

    async def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        await self._obj.multi_set(list(values.items()), ttl=ttl)

    async def delete(self, name: str) -> None:
        await self._obj.delete(name)
