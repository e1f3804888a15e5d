"""Objects of other libraries, each made by its own package, as the tests adapt them.

Packages are imported where they are used, since some take seconds to load.
"""

from __future__ import annotations

import dbm.dumb
import shelve
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANY = 100_000
"""Entries over which a cache of the tests may forget some."""


def make_shelf(folder: Path) -> Any:
    # Not the default module, which is another one in Python 3.13.
    return shelve.Shelf(dbm.dumb.open(str(folder / "shelf")))


def make_diskcache(folder: Path) -> Any:
    import diskcache

    cache = diskcache.Cache(str(folder / "diskcache"))
    cache.close()  # the connection of this thread; the next use opens one
    return cache


def make_zict(folder: Path) -> Any:
    import zict

    return zict.File(folder / "zict")


def make_cachetools(folder: Path) -> Any:
    import cachetools

    return cachetools.LRUCache(MANY)


def make_django(folder: Path) -> Any:
    from django.core.cache.backends.locmem import LocMemCache

    return LocMemCache(str(folder), {"OPTIONS": {"MAX_ENTRIES": MANY}})


def make_aiocache(folder: Path) -> Any:
    import aiocache

    return aiocache.SimpleMemoryCache()


def make_cashews(folder: Path) -> Any:
    from cashews.backends.memory import Memory

    return Memory(size=MANY)


def make_cachelib(folder: Path) -> Any:
    from cachelib import FileSystemCache

    return FileSystemCache(str(folder / "cachelib"), threshold=0)


def make_keyvalue_sqlite(folder: Path) -> Any:
    from keyvalue_sqlite import KeyValueSqlite

    return KeyValueSqlite(str(folder / "keyvalue.db"))


def make_great_expectations(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses modules that Python has deprecated
        from great_expectations.data_context.store.tuple_store_backend import (
            TupleFilesystemStoreBackend,
        )

    return TupleFilesystemStoreBackend(base_directory=str(folder / "expectations"))


def make_obstore(folder: Path) -> Any:
    from obstore.store import LocalStore

    return LocalStore(folder / "objects", mkdir=True)


def make_zarr(folder: Path) -> Any:
    from zarr.storage import LocalStore

    return LocalStore(folder / "zarr")


def make_langgraph(folder: Path) -> Any:
    from langgraph.store.memory import InMemoryStore

    return InMemoryStore()


class KeyValueStore:
    """Stands for the class of Steamship, whose package needs pydantic 1 and an account.

    It has the documented methods, and keeps the pairs here instead of as tags of a file.
    """

    def __init__(self) -> None:
        self._tags: list[tuple[str, dict[str, Any]]] = []

    def get(self, key: str) -> dict[str, Any] | None:
        return dict(self._tags).get(key)

    def delete(self, key: str) -> bool:
        count = len(self._tags)
        self._tags = [tag for tag in self._tags if tag[0] != key]
        return len(self._tags) < count

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.delete(key)
        self._tags.append((key, value))

    def items(self, filter_keys: list[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
        return [
            tag
            for tag in self._tags
            if tag[0] != "__init__" and (filter_keys is None or tag[0] in filter_keys)
        ]

    def reset(self) -> None:
        self._tags = []


KeyValueStore.__module__ = "steamship.utils.kv_store"


class Plain:
    """Has `get` and `set`, and nothing else."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.content.get(key)

    def set(self, key: str, value: Any) -> None:
        self.content[key] = value


class Awaited:
    """Has async methods `get`, `set`, `remove` and `keys`, and no value for a missing key."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    async def get(self, key: str) -> Any:
        return self.content[key]

    async def set(self, key: str, value: Any) -> None:
        self.content[key] = value

    async def remove(self, key: str) -> None:
        del self.content[key]

    async def keys(self) -> list[str]:
        return list(self.content)


OBJECTS: dict[str, Callable[[Path], Any]] = {
    "shelve": make_shelf,
    "cachetools": make_cachetools,
    "diskcache": make_diskcache,
    "zict": make_zict,
    "django cache": make_django,
    "aiocache": make_aiocache,
    "cashews": make_cashews,
    "cachelib": make_cachelib,
    "keyvalue-sqlite": make_keyvalue_sqlite,
    "great expectations": make_great_expectations,
    "steamship": lambda folder: KeyValueStore(),
    "obstore": make_obstore,
    "zarr": make_zarr,
    "langgraph": make_langgraph,
    "get and set": lambda folder: Plain(),
    "async get and set": lambda folder: Awaited(),
}
"""An object of each kind, in a folder of the test."""

# A stack reaches the objects of other libraries through one store: one object for each form of
# entries, and one with transactions. `tests/stores/adapted/` has a stack over each of them.
FORMS = {"get and set", "great expectations", "langgraph", "diskcache"}

ENCRYPTED = FORMS | {"shelve", "zict", "steamship", "obstore", "zarr", "cashews"}
"""Objects over which the contract runs with encryption, too."""
