"""A store backend of Great Expectations over a stack of kvwrap.

In a configuration of Great Expectations:

    store_backend:
      module_name: kvwrap.integrations.great_expectations
      class_name: KvwrapStoreBackend
      store: kvwrap.toml
      collection: checkpoints
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from great_expectations.core.data_context_key import DataContextKey, DataContextVariableKey
from great_expectations.data_context.store.store_backend import StoreBackend
from great_expectations.exceptions.exceptions import InvalidKeyError, StoreBackendError

from kvwrap.config.load import from_config
from kvwrap.config.reader import store_from_url
from kvwrap.core.capability import Capability
from kvwrap.errors import ConfigurationError, KeyNotFound, KvwrapError
from kvwrap.views.sync import SyncStore, sync
from kvwrap.views.tuples import SyncTupleStore, tuples

_BACKEND_ID = StoreBackend.STORE_BACKEND_ID_KEY


class KvwrapStoreBackend(StoreBackend):
    """Keeps what a store of Great Expectations keeps in one collection of a stack, by its tuples.

    Adding is atomic, and the id of the backend is made once however many processes ask, if the
    store has `Capability.COMPARE_AND_PUT`. The store must be able to enumerate its keys.

    Args:
        store: What `kvwrap.from_config` takes: the path of a TOML file, or a mapping of the
            same structure. Or the URL of a store without layers, or a blocking view
            (`kvwrap.sync`), which `close` leaves open.
        collection: The collection. Each store of a context needs one of its own.
        fixed_length_key: As for other backends of Great Expectations.
        suppress_store_backend_id: Likewise.
        manually_initialize_store_backend_id: Likewise.
        store_name: Likewise.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Mapping[str, Any] | SyncStore,
        collection: str | None = None,
        fixed_length_key: bool = False,
        suppress_store_backend_id: bool = False,
        manually_initialize_store_backend_id: str | uuid.UUID = "",
        store_name: str | None = None,
    ) -> None:
        super().__init__(
            fixed_length_key=fixed_length_key,
            suppress_store_backend_id=suppress_store_backend_id,
            manually_initialize_store_backend_id=manually_initialize_store_backend_id,
            store_name=store_name or "no_store_name",
        )
        self._owns_store = not isinstance(store, SyncStore)
        self._view: SyncTupleStore = tuples(_opened(store), collection)
        given = {
            "store": None if isinstance(store, SyncStore) else store,
            "collection": collection,
            "fixed_length_key": fixed_length_key,
            "suppress_store_backend_id": suppress_store_backend_id,
            "manually_initialize_store_backend_id": manually_initialize_store_backend_id,
            "store_name": store_name,
            "module_name": type(self).__module__,
            "class_name": type(self).__name__,
        }
        self._config = {name: value for name, value in given.items() if value}

    def _get(self, key: tuple[str, ...]) -> Any:
        try:
            return self._view.require(key)
        except KeyNotFound as error:
            raise InvalidKeyError(str(error)) from error

    def _get_all(self) -> list[Any]:
        values = [self._view.get(key) for key in self.list_keys() if key != _BACKEND_ID]
        return [value for value in values if value is not None]

    def _set(self, key: tuple[str, ...], value: Any, **kwargs: Any) -> None:
        self._view.put(key, value)

    def _add(self, key: tuple[str, ...], value: Any, **kwargs: Any) -> None:
        self._validate_key(key)
        if Capability.COMPARE_AND_PUT in self._view.store.capabilities:
            is_new = self._view.put_if_absent(key, value)
        else:
            is_new = not self._view.has_key(key)
            if is_new:
                self._view.put(key, value)
        if not is_new:
            raise StoreBackendError(f"Store already has the following key: {key}.")

    def _move(self, source_key: tuple[str, ...], dest_key: tuple[str, ...], **kwargs: Any) -> None:
        if not self._view.move(source_key, dest_key):
            raise InvalidKeyError(f"the key to move has no value: {source_key}")

    def _has_key(self, key: tuple[str, ...]) -> bool:
        return self._view.has_key(key)

    def list_keys(self, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        """Return the keys that begin with the prefix, without ignored ones, in order."""
        ignored = set(self.IGNORED_FILES)
        return [key for key in self._view.list_keys(prefix) if ignored.isdisjoint(key)]

    def remove_key(  # type: ignore[override]  # its own backends return it too
        self, key: tuple[str, ...] | DataContextKey
    ) -> bool:
        """Delete a key. Returns True if it had a value."""
        return self._view.remove_key(key.to_tuple() if isinstance(key, DataContextKey) else key)

    def get_url_for_key(self, key: tuple[str, ...], protocol: str | None = None) -> str:
        """Return what identifies an entry, as `TupleStore.url_for` does."""
        return self._view.url_for(key)

    def build_key(self, id: str | None = None, name: str | None = None) -> DataContextVariableKey:  # noqa: A002  # its name there
        """Return the key of a variable of a context, by its name."""
        return DataContextVariableKey(resource_name=name)

    def _construct_store_backend_id(self, suppress_warning: bool = False) -> uuid.UUID | None:
        if not self._suppress_store_backend_id:
            made = self._manually_initialize_store_backend_id or str(uuid.uuid4())
            try:
                if not self.has_key(_BACKEND_ID):
                    self._add(_BACKEND_ID, f"{self.STORE_BACKEND_ID_PREFIX}{made}\n")
            except (StoreBackendError, KvwrapError):
                pass  # another process made it; or the store fails, of which the next call warns
        return super()._construct_store_backend_id(suppress_warning)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments, with which Great Expectations makes the same backend again."""
        return self._config

    def close(self) -> None:
        """Close the store, unless it is a view that was passed."""
        if self._owns_store:
            self._view.store.close()


def _opened(store: Any) -> SyncStore:
    if isinstance(store, SyncStore):
        return store
    if isinstance(store, str) and "://" in store:
        return sync(store_from_url(store))
    if isinstance(store, str | os.PathLike | Mapping):
        return sync(from_config(store))
    raise ConfigurationError(
        "`store` must be the path of a TOML file, a mapping of the same structure, a URL, or a "
        f"blocking view of a store; got {type(store).__name__}"
    )
