"""Values under a name, with the methods of django-keyval."""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings

from kvwrap.errors import KeyNotFound
from kvwrap.integrations.django.cache import shared_view
from kvwrap.views.sync import SyncStore

DEFAULT_STORE = "kvwrap.integrations.django.store.DjangoStore"


class KeyVal:
    """The values of one name, a collection of a store, with the methods of django-keyval.

    The store is the one to which the setting `KVWRAP_KEYVAL` leads, as the LOCATION of a
    `StoreCache` does; a `DjangoStore` if it is left out.

    Args:
        name: The name.
        store: A blocking view to use instead.
    """

    def __init__(self, name: str, store: SyncStore | None = None) -> None:
        self.name: str | None = name
        self._store = store

    @classmethod
    def connect(cls, name: str) -> Self:
        """Return the values of a name."""
        return cls(name)

    def disconnect(self) -> None:
        """End the use of this object: every further call raises `NameError`."""
        self.name = None

    def _view(self) -> tuple[SyncStore, str]:
        if self.name is None:
            raise NameError("a KeyVal must be connected; this one was disconnected: make another")
        return self._store or shared_store(), self.name

    def set(self, key: str, value: Any) -> bool:
        """Set a value. Returns True if the key is new."""
        store, name = self._view()
        is_new = store.put_if_absent(key, value, collection=name)
        if not is_new:
            store.put(key, value, collection=name)
        return is_new

    def get(self, key: str) -> Any:
        """Return a value. Raises `KeyError` if there is no such key."""
        store, name = self._view()
        return store.require(key, collection=name)

    def get_default(self, key: str, default_value: Any) -> Any:
        """Return a value, or the default."""
        try:
            return self.get(key)
        except KeyNotFound:
            return default_value

    def pop(self, key: str) -> Any:
        """Delete a key and return its value. Raises `KeyError` if there is no such key."""
        value = self.pop_default(key, _MISSING)
        return self.get(key) if value is _MISSING else value

    def pop_default(self, key: str, default_value: Any) -> Any:
        """Delete a key and return its value, or the default."""
        store, name = self._view()
        return store.pop(key, default_value, collection=name)

    def exists(self, key: str) -> bool:
        """Return True if there is such a key."""
        store, name = self._view()
        return store.exists(key, collection=name)

    def delete(self, key: str, ignore_keyerror: bool = False) -> bool:
        """Delete a key. Returns True if it existed; raises `KeyError` if not, unless ignored."""
        store, name = self._view()
        if store.delete(key, collection=name):
            return True
        if ignore_keyerror:
            return False
        raise KeyNotFound("the key has no value", store=store.name, collection=name, key=key)

    def flush(self) -> None:
        """Delete all keys of the name."""
        store, name = self._view()
        store.destroy_collection(name)

    def flush_all(self) -> None:
        """Delete all keys of all names, also after `disconnect`."""
        (self._store or shared_store()).destroy()


_MISSING = object()


def shared_store() -> SyncStore:
    """Return the blocking view of the store of the setting `KVWRAP_KEYVAL`."""
    return shared_view(getattr(settings, "KVWRAP_KEYVAL", DEFAULT_STORE), None)
