"""The cache backend: locations, options, lifetimes, async methods, and the caller's transaction."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections, transaction
from django.test.utils import override_settings

import kvwrap
from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidValue,
    KeyNotFound,
    Keyring,
    MemoryStore,
    SerializationError,
    Store,
    stack,
)
from kvwrap.integrations.django import DjangoStore
from kvwrap.testing import ManualClock
from tests.integrations.django import project

project.set_up()
BACKEND = "kvwrap.integrations.django.cache.StoreCache"
KEYRING = Keyring.generate()


@contextmanager
def cache_at(location: str, **settings: Any) -> Iterator[Any]:
    with override_settings(
        CACHES={"default": {"BACKEND": BACKEND, "LOCATION": location} | settings}
    ):
        yield caches["default"]


@contextmanager
def cache_over(monkeypatch: pytest.MonkeyPatch, found: Any, **settings: Any) -> Iterator[Any]:
    """A cache whose LOCATION leads to this object."""
    name = f"place_{id(found)}"
    monkeypatch.setattr(project, name, found, raising=False)
    with cache_at(f"{project.__name__}.{name}", **settings) as cache:
        yield cache
        cache.store.close()


# -- locations ------------------------------------------------------------------------------


def test_a_location_is_a_function_a_store_or_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Store:
        return stack().compress().encrypt(KEYRING).over(MemoryStore())

    for found in (make, MemoryStore(), kvwrap.sync(MemoryStore())):
        with cache_over(monkeypatch, found) as cache:
            cache.set("k", {"n": 1})
            assert cache.get("k") == {"n": 1}


def test_a_location_is_a_url_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache.toml").write_text(
        f"""store = "sqlite:///{tmp_path}/cache.db"\n[[layers]]\ntype = "compress"\n"""
    )
    for location in (f"sqlite:///{tmp_path}/cache.db", f"{tmp_path}/cache.toml"):
        with cache_at(location) as cache:
            assert cache.add("k", "first") == location.startswith("sqlite")
            assert cache.get("k") == "first"
            cache.store.close()


@pytest.mark.parametrize("location", ["nowhere.store", "no path", "pathlib.os"])
def test_a_location_that_leads_to_no_store(location: str) -> None:
    with cache_at(location) as cache, pytest.raises(ConfigurationError, match="LOCATION"):
        cache.get("k")


def test_unknown_options() -> None:
    settings = {"default": {"BACKEND": BACKEND, "LOCATION": "memory://", "OPTIONS": {"max": 1}}}
    with (
        override_settings(CACHES=settings),
        pytest.raises(ConfigurationError, match="collection, serializer"),
    ):
        caches["default"]


def test_threads_share_the_store() -> None:
    with cache_at("memory://?max_entries=7") as cache:
        cache.set("k", 1)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(caches["default"].get("k")))
        thread.start()
        thread.join()
        assert found == [1]
        cache.store.close()


def test_collections_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    view = kvwrap.sync(MemoryStore())
    view.put("mine", 1)
    with cache_over(monkeypatch, view, OPTIONS={"collection": "c"}) as cache:
        cache.set("k", 1)
        assert view.keys("c") == [":1:k"]
        cache.clear()
        assert view.keys("c") == []
        assert view.keys() == ["mine"]


# -- values and lifetimes ---------------------------------------------------------------------


def test_only_json_unless_pickle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"at": datetime.now(UTC), 1: {2}}
    with (
        cache_over(monkeypatch, MemoryStore()) as cache,
        pytest.raises(SerializationError),
    ):
        cache.set("k", value)
    with cache_over(monkeypatch, MemoryStore(), OPTIONS={"serializer": "pickle"}) as cache:
        cache.set("k", value)
        assert cache.get("k") == value
        with pytest.raises(pickle.PickleError) as raised:
            cache.set("k", lambda: 0)
        assert isinstance(raised.value, SerializationError)
        assert cache.get_or_set("n", 5) == 5
        assert cache.incr("n") == 6


def test_counters_and_moved_versions_keep_their_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    with cache_over(monkeypatch, MemoryStore(clock=clock)) as cache:
        cache.set("n", 1, timeout=100)
        clock.advance(60)
        assert cache.incr("n", 2) == 3
        assert cache.incr_version("n") == 2
        assert cache.get("n", version=2) == 3
        clock.advance(40)
        assert cache.get("n", version=2) is None
        cache.set("n", "text", timeout=None)
        with pytest.raises(InvalidValue):
            cache.incr("n")
        for missing in (cache.incr, cache.decr, cache.incr_version):
            with pytest.raises(ValueError, match="must have a value") as raised:
                missing("missing")
            assert isinstance(raised.value, KeyNotFound)


def test_a_store_without_conditional_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(MemoryStore):
        capabilities = MemoryStore.capabilities - {
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY_COLLECTION,
        }

    with cache_over(monkeypatch, Plain()) as cache:
        assert cache.add("k", 1)
        assert not cache.add("k", 2)
        assert cache.get_many(["k", "missing"]) == {"k": 1}
        cache.clear()
        assert cache.get("k", "default") == "default"


# -- async methods ----------------------------------------------------------------------------


async def test_async_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_over(monkeypatch, MemoryStore()) as cache:
        assert await cache.aset_many({"a": 1, "b": None}) == []
        assert await cache.aget_many(["a", "b", "c"]) == {"a": 1, "b": None}
        assert await cache.aincr("a") == 2
        assert await cache.adecr("a") == 1
        assert await cache.ahas_key("b")
        assert await cache.aadd("c", 3)
        assert not await cache.aadd("c", 4)
        assert await cache.atouch("c", 0)
        assert await cache.aget("c", "default") == "default"
        assert await cache.aincr_version("a") == 2
        assert await cache.aget_or_set("d", lambda: 5) == 5
        await cache.adelete_many(["d"])
        assert not await cache.adelete("d")
        # As Django's async sessions do, and as its own caches work there.
        assert "b" in cache
        await cache.aclear()
        assert cache.get("b", 0) == 0
        await sync_to_async(cache.store.close)()


# -- the ORM ----------------------------------------------------------------------------------


def test_over_the_orm_it_is_part_of_the_transaction(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache_over(monkeypatch, stack().encrypt(KEYRING).over(DjangoStore(alias))) as cache:
        cache.set("kept", 1)
        with transaction.atomic(using=alias):
            cache.set_many({"a": 1, "b": 2})
            assert cache.incr("kept") == 2
            transaction.set_rollback(True, using=alias)
        assert cache.get_many(["a", "b", "kept"]) == {"kept": 1}


async def test_async_methods_over_the_orm(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with cache_over(monkeypatch, DjangoStore(alias)) as cache:
        await cache.aset("a", 1)

        def look() -> None:
            assert connections[alias].connection is not None
            assert cache.get("a") == 1

        await sync_to_async(look)()
        await sync_to_async(cache.store.close)()
