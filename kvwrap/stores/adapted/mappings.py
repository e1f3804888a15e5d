"""Mappings that may wait for a disk: a shelf, a dbm file, and every other."""

from __future__ import annotations

from typing import Any, Final

from kvwrap.stores.adapted.adapter import Adapter, class_names

_METHODS: Final = ("__getitem__", "__setitem__", "__delitem__")
_BOUND_TO_A_THREAD: Final = "dbm.sqlite3:_Database"
"""A class whose objects raise errors on other threads than the one that made them."""


class MappingAdapter(Adapter):
    """Adapts a mapping whose keys are texts, or their UTF-8 as in a dbm file."""

    kind = "mapping"
    needs = _METHODS

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        inner = getattr(obj, "__dict__", {}).get("dict")  # of a shelf
        self.blocking = not {_BOUND_TO_A_THREAD} & {*class_names(obj), *class_names(inner)}

    def get(self, name: str) -> Any:
        try:
            return self._obj[name]
        except KeyError:
            return None

    def set(self, name: str, value: Any, ttl: int | None) -> None:
        self._obj[name] = value

    def delete(self, name: str) -> None:
        try:
            del self._obj[name]
        except KeyError:
            return

    def list_names(self) -> list[Any]:
        names = self._obj.keys() if hasattr(self._obj, "keys") else self._obj
        return [
            name.decode(errors="replace") if isinstance(name, bytes) else name
            for name in list(names)
        ]


def is_mapping(obj: object) -> bool:
    """Return True if an object has the methods of a mutable mapping."""
    cls = type(obj)
    return all(hasattr(cls, name) for name in _METHODS) and (
        hasattr(cls, "keys") or (hasattr(cls, "get") and hasattr(cls, "__iter__"))
    )
