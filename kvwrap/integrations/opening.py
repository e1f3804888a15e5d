"""Blocking views for caches of other libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kvwrap.builder import stack
from kvwrap.config.load import from_config
from kvwrap.config.reader import store_from_url
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.integrations.shared.best_effort import BestEffort
from kvwrap.views.sync import SyncStore, sync

CacheStore = str | os.PathLike[str] | Mapping[str, Any] | Store
"""A URL, the path of a TOML file or a mapping of the same structure, or a store."""


def open_cache(store: CacheStore) -> SyncStore:
    """Return a blocking view of a store, which is a cache without entries while it fails.

    Raises:
        ConfigurationError: There is no such store.
    """
    if isinstance(store, str) and "://" in store:
        opened = store_from_url(store)
    elif isinstance(store, str | os.PathLike | Mapping):
        opened = from_config(store)
    elif isinstance(store, Store):
        opened = store
    else:
        raise ConfigurationError(
            "`store` must be a URL, the path of a TOML file, a mapping of the same structure, or "
            f"a store; got {type(store).__name__}"
        )
    return sync(stack(BestEffort()).circuit_breaker(3, open_for=5).over(opened))
