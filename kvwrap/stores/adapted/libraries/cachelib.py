"""Caches of cachelib, which Flask-Caching uses too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvwrap.stores.adapted.adapter import PLAIN, Adapter, found
from kvwrap.stores.adapted.forms import OBJECTS


class CachelibAdapter(Adapter):
    """Adapts a cache of cachelib. There, a timeout of 0 means no expiry."""

    kind = "cache of cachelib"
    classes = ("cachelib.base:BaseCache",)
    package = "cachelib"
    needs = ("get_many", "set", "delete")
    form = OBJECTS
    names = PLAIN
    has_ttl = True
    lists = False

    def get_many(self, names: Sequence[str]) -> dict[str, Any]:
        return found(names, self._obj.get_many(*names))

    def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        for name, value in values.items():
            # `set_many` of some of its caches cannot tell which values were not stored.
            if self._obj.set(name, value, timeout=ttl or 0) is False:
                raise OSError("the cache did not store the value")

    def delete(self, name: str) -> None:
        self._obj.delete(name)
