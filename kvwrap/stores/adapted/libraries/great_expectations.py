"""Store backends of Great Expectations, whose keys are tuples of texts."""

from __future__ import annotations

from typing import Any, Final

from kvwrap.core.tuple_keys import decode_key, encode_key
from kvwrap.stores.adapted.adapter import FILE_NAMES, Adapter
from kvwrap.stores.adapted.forms import TEXT

_STORE_ID: Final = ".ge_store_backend_id"


class GreatExpectationsAdapter(Adapter):
    """Adapts a store backend. Names are the last part of its keys, behind the namespace.

    If its own values are entries, and no namespace is chosen, its keys are those of
    `kvwrap.tuples`, whatever their lengths.
    """

    kind = "store backend of Great Expectations"
    classes = ("great_expectations.data_context.store._store_backend:StoreBackend",)
    package = "great_expectations"
    needs = ("get", "set", "has_key", "list_keys", "remove_key")
    form = TEXT
    names = FILE_NAMES
    has_namespace = True

    _has_tuples = False

    def use_raw(self) -> None:
        self._has_tuples = self._namespace is None

    def place(self) -> str | None:
        # Backends that are no folders have none, and tell of themselves in other ways.
        folder = getattr(self._obj, "full_base_directory", None)
        return None if folder is None else f"{folder}, {self._namespace or ()!r}"

    def _key(self, name: str) -> tuple[str, ...]:
        key = decode_key(name) if self._has_tuples else None
        return key or (*(self._namespace or ()), name)

    def get(self, name: str) -> Any:
        key = self._key(name)
        return self._obj.get(key) if self._obj.has_key(key) else None

    def set(self, name: str, value: Any, ttl: int | None) -> None:
        self._obj.set(self._key(name), value)

    def delete(self, name: str) -> None:
        key = self._key(name)
        if self._obj.has_key(key):
            self._obj.remove_key(key)

    def list_names(self) -> list[str]:
        prefix = self._namespace or ()
        keys = self._obj.list_keys(prefix)
        if self._has_tuples:
            return [encode_key(key) for key in keys if key[-1] != _STORE_ID]
        return [key[-1] for key in keys if key[:-1] == prefix and key[-1] != _STORE_ID]
