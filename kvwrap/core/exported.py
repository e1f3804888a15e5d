"""The stores whose figures an exporter reads."""

from __future__ import annotations

import threading

from kvwrap.core.figures import Sample, collect, merged
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_name
from kvwrap.errors import ConfigurationError


class Exported:
    """Stores to export, each under the name of its stack. Those of one name are one stack.

    May be changed and read from any thread.
    """

    def __init__(self) -> None:
        self._stores: dict[int, tuple[Store, str | None]] = {}
        self._lock = threading.Lock()

    def add(self, store: Store, name: str | None = None) -> None:
        """Export the figures of this store, its layers and its second stores.

        Args:
            store: The store. Adding it again changes its name.
            name: The name of the stack; that of its outermost `Statistics` if omitted, or "kvwrap"
                without one.

        Raises:
            ConfigurationError: It is not a store, or the name is no name.
        """
        checked_store(store)
        if name is not None:
            checked_name(name, "name")
        with self._lock:
            self._stores[id(store)] = (store, name)

    def remove(self, store: Store) -> None:
        """Stop exporting the figures of this store."""
        with self._lock:
            self._stores.pop(id(store), None)

    def samples(self) -> list[Sample]:
        """Return the current values, each combination of figure and labels once."""
        with self._lock:
            stores = list(self._stores.values())
        return merged(sample for store, name in stores for sample in collect(store, name))


def checked_store(store: object) -> Store:
    """Return a store whose figures can be exported; raises `ConfigurationError`."""
    if isinstance(store, Store):
        return store
    raise ConfigurationError(
        "`store` must be a store, as `stack().over(...)` returns it; got "
        f"{type(store).__name__}. Of a view such as kvwrap.sync(store), export the store."
    )
