"""A cache of cachelib over a stack of kvwrap."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need
from kvwrap.core.validation import checked_place
from kvwrap.errors import KvwrapError
from kvwrap.integrations.opening import CacheStore, open_cache

if TYPE_CHECKING:
    from cachelib import BaseCache
else:
    BaseCache = need("cachelib", extra="cachelib", wanted_by=__name__).BaseCache

_Timeout = int | datetime.timedelta | None


class KvwrapCache(BaseCache):
    """Keeps entries in one collection of a store. `add` and `inc` are atomic.

    A store that fails is a cache without entries: reads find nothing, writes are dropped, and a
    warning is logged. `add`, `delete` and `clear` then return False, `inc` and `dec` None.

    Args:
        store: A URL, the path of a TOML file or a mapping of its structure, or a store that is
            not open. Values are what its serializer takes; others raise `SerializationError`.
        default_timeout: Seconds, or a timedelta; 0 for no expiry.
        collection: The collection; each cache of a store needs one of its own.
        ignore_delete_many_errors: As for other caches of cachelib.
    """

    def __init__(
        self,
        store: CacheStore,
        default_timeout: int | datetime.timedelta = 300,
        *,
        collection: str = "cache",
        ignore_delete_many_errors: bool = True,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        self.store = open_cache(store)
        self._place = {"collection": checked_place(collection, "collection")}

    def _ttl(self, timeout: _Timeout) -> float | None:
        return self._normalize_timeout(timeout) or None

    def get(self, key: str) -> Any:
        return self.store.get(key, **self._place)

    def get_many(self, *keys: str) -> list[Any]:
        return self.store.get_many(keys, **self._place)

    def has(self, key: str) -> bool:
        return self.store.exists(key, **self._place)

    def set(self, key: str, value: Any, timeout: _Timeout = None) -> bool:
        self.store.put(key, value, **self._place, ttl=self._ttl(timeout))
        return True

    def set_many(self, mapping: dict[str, Any], timeout: _Timeout = None) -> list[Any]:
        self.store.put_many([*mapping], [*mapping.values()], **self._place, ttl=self._ttl(timeout))
        return [*mapping]

    def add(self, key: str, value: Any, timeout: _Timeout = None) -> bool:
        try:
            return self.store.put_if_absent(key, value, **self._place, ttl=self._ttl(timeout))
        except ConnectionError:
            return False

    def delete(self, key: str) -> bool:
        return self.store.delete(key, **self._place)

    def clear(self) -> bool:
        try:
            self.store.destroy_collection(self._place["collection"])
        except KvwrapError:
            return False
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        try:
            return self.store.increment(
                key, delta, collection=self._place["collection"], ttl=self._ttl(None)
            )
        except ConnectionError:
            return None

    def dec(self, key: str, delta: int = 1) -> int | None:
        return self.inc(key, -delta)
