"""The `KeyValueStore` of Steamship, which keeps JSON objects as tags of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kvwrap.core.capability import Capability
from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.forms import JSON_OBJECTS
from kvwrap.stores.shared.names import NameEncoding

_MARKER: Final = "__init__"


class SteamshipAdapter(Adapter):
    """Adapts a `KeyValueStore` of Steamship."""

    kind = "KeyValueStore of Steamship"
    classes = ("steamship.utils.kv_store:KeyValueStore",)
    package = "steamship"
    needs = ("get", "set", "delete", "items")
    form = JSON_OBJECTS
    names = NameEncoding(None, limit=1000, is_reserved=lambda name: name == _MARKER)
    properties = frozenset({Capability.PERSISTENT, Capability.SHARED})

    def place(self) -> str | None:
        identifier = getattr(self._obj, "store_identifier", None)
        return None if identifier is None else repr(identifier)

    def get_many(self, names: Sequence[str]) -> dict[str, Any]:
        return dict(self._obj.items(list(names)))

    def set(self, name: str, value: Any, ttl: int | None) -> None:
        self._obj.set(name, value)

    def delete(self, name: str) -> None:
        self._obj.delete(name)

    def list_names(self) -> list[str]:
        return [name for name, _ in self._obj.items()]
