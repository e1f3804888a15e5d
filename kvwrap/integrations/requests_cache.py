"""A backend of requests-cache over a stack of kvwrap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need
from kvwrap.core.validation import checked_name, checked_seconds
from kvwrap.integrations.opening import CacheStore, open_cache
from kvwrap.views.sync import SyncStore

if TYPE_CHECKING:
    from requests_cache.backends.base import BaseCache, BaseStorage
else:
    _library = need("requests_cache.backends.base", extra="requests-cache", wanted_by=__name__)
    BaseCache, BaseStorage = _library.BaseCache, _library.BaseStorage


class KvwrapStorage(BaseStorage[str, Any]):
    """One collection of responses or of redirects; see `KvwrapBackend`."""

    def __init__(
        self, store: SyncStore, collection: str, serializer: Any, stale_for: float
    ) -> None:
        super().__init__(serializer=serializer)
        self._store, self._collection, self._stale_for = store, collection, stale_for

    def __getitem__(self, key: str) -> Any:
        return self.deserialize(key, self._store.require(key, collection=self._collection))

    def __setitem__(self, key: str, value: Any) -> None:
        fresh = getattr(value, "expires_delta", None)
        ttl = None if fresh is None else max(fresh, 0) + self._stale_for
        self._store.put(key, self.serialize(value), collection=self._collection, ttl=ttl)

    def __delitem__(self, key: str) -> None:
        if not self._store.delete(key, collection=self._collection):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.keys(self._collection))

    def __len__(self) -> int:
        return self._store.count(collection=self._collection)

    def clear(self) -> None:
        self._store.destroy_collection(self._collection)

    def bulk_delete(self, keys: Iterable[str]) -> None:
        self._store.delete_many(list(keys), collection=self._collection)


class KvwrapBackend(BaseCache):
    """Keeps responses and redirects in two collections of a store: `CachedSession(backend=)`.

    A store that fails is a cache without entries, and a warning is logged: requests are sent.
    Listing and clearing raise its errors. Responses are JSON; no pickle is loaded.

    Args:
        store: As for `kvwrap.integrations.cachelib.KvwrapCache`.
        cache_name: Name of the cache; begins the names of its collections.
        stale_for: Seconds for which a response is kept after its expiry, to be sent if the server
            fails (`stale_if_error`) or to be revalidated.
    """

    def __init__(
        self, store: CacheStore, cache_name: str = "http_cache", *, stale_for: float = 3600
    ) -> None:
        super().__init__(checked_name(cache_name, "cache_name"))
        checked_seconds(stale_for, "stale_for")
        self.store = open_cache(store)
        self.responses = KvwrapStorage(self.store, f"{cache_name}/responses", "json", stale_for)
        self.redirects = KvwrapStorage(self.store, f"{cache_name}/redirects", None, stale_for)

    def close(self) -> None:
        """Close the store."""
        self.store.close()
