"""Stores of LangGraph: every `BaseStore`."""

from __future__ import annotations

from typing import Any, Final

from kvwrap.stores.adapted.adapter import AsyncAdapter
from kvwrap.stores.adapted.forms import JSON_OBJECTS

_NAMESPACE: Final = ("kvwrap",)
_PAGE: Final = 1000


class LangGraphAdapter(AsyncAdapter):
    """Adapts one namespace of a store of LangGraph. Entries are not indexed for searches."""

    kind = "store of LangGraph"
    classes = ("langgraph.store.base:BaseStore",)
    package = "langgraph-checkpoint"
    needs = ("aget", "aput", "adelete", "asearch")
    form = JSON_OBJECTS
    has_namespace = True

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        self._place = namespace or _NAMESPACE

    async def get(self, name: str) -> Any:
        item = await self._obj.aget(self._place, name, refresh_ttl=False)
        return None if item is None else item.value

    async def set(self, name: str, value: Any, ttl: int | None) -> None:
        await self._obj.aput(self._place, name, value, index=False)

    async def delete(self, name: str) -> None:
        await self._obj.adelete(self._place, name)

    async def list_names(self) -> list[str]:
        names: dict[str, None] = {}
        for offset in range(0, 2**62, _PAGE):
            items = await self._obj.asearch(
                self._place, limit=_PAGE, offset=offset, refresh_ttl=False
            )
            # A search finds what is in the namespaces within this one, too.
            names.update((item.key, None) for item in items if item.namespace == self._place)
            if len(items) < _PAGE:
                break
        return list(names)
