"""Caches of Django: those of `django.core.cache.caches`, and every other `BaseCache`."""

from __future__ import annotations

import string
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.forms import OBJECTS
from kvwrap.stores.shared.names import NameEncoding

_LONGEST: Final = 250
"""Length of a key over which Django warns, including what it puts in front."""


class DjangoAdapter(Adapter):
    """Adapts a cache of Django.

    `add` is atomic in most caches, and alone makes no conditional write: so none is claimed.
    """

    kind = "cache of Django"
    classes = (
        "django.core.cache.backends.base:BaseCache",
        "django.utils.connection:ConnectionProxy",
    )
    package = "django"
    needs = ("get_many", "set_many", "delete_many", "make_key")
    form = OBJECTS
    has_ttl = True
    lists = False

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        self.names = NameEncoding(
            string.ascii_letters + string.digits + string.punctuation.replace("%", ""),
            limit=max(64, _LONGEST - len(obj.make_key(""))),
        )

    def get_many(self, names: Sequence[str]) -> Any:
        return self._obj.get_many(names)

    def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        failed = self._obj.set_many(dict(values), timeout=ttl)
        if failed:
            raise OSError(f"the cache did not store {len(failed)} of {len(values)} values")

    def delete_many(self, names: Sequence[str]) -> None:
        self._obj.delete_many(names)

    def release(self) -> None:
        """Close the connections to databases that this thread has opened for the cache."""
        database, conf = sys.modules.get("django.db"), sys.modules.get("django.conf")
        # Without settings, which a cache in memory does not need, there are no connections.
        if database is not None and conf is not None and conf.settings.configured:
            for connection in database.connections.all(initialized_only=True):
                connection.close()
