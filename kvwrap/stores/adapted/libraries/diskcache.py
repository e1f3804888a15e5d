"""Caches of diskcache: `Cache`, `FanoutCache` and `Index`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from kvwrap.core.capability import Capability
from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.forms import OBJECTS


class DiskcacheAdapter(Adapter):
    """Adapts a cache of diskcache, whose transactions make conditional writes atomic."""

    kind = "cache of diskcache"
    classes = ("diskcache.core:Cache", "diskcache.fanout:FanoutCache")
    package = "diskcache"
    needs = ("get", "set", "delete", "transact", "close")
    form = OBJECTS
    has_ttl = True
    tells_ttl = True
    properties = frozenset({Capability.PERSISTENT, Capability.SHARED})

    def eviction(self) -> str | None:
        policy = getattr(self._obj, "eviction_policy", "none")  # an Index has none
        return None if policy == "none" else f"entries are evicted (eviction_policy {policy!r})"

    def place(self) -> str | None:
        return str(self._obj.directory)

    def get(self, name: str) -> Any:
        return self._obj.get(name, retry=True)

    def set(self, name: str, value: Any, ttl: int | None) -> None:
        self._obj.set(name, value, expire=ttl, retry=True)

    def delete(self, name: str) -> None:
        self._obj.delete(name, retry=True)

    def list_names(self) -> list[Any]:
        return list(self._obj)

    def lifetimes(self, names: Sequence[str]) -> list[float | None]:
        now = time.time()
        ends = [self._obj.get(name, expire_time=True, retry=True)[1] for name in names]
        return [None if end is None else end - now for end in ends]

    def transaction(self) -> AbstractContextManager[object]:
        return self._obj.transact(retry=True)  # type: ignore[no-any-return]  # it has no types

    def release(self) -> None:
        """Close the connections of this thread. Those of other threads stay."""
        self._obj.close()
