"""The operations of django-keyval, through kvwrap's `KeyVal` and through its own methods."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

import kvwrap
from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    Keyring,
    MemoryStore,
    ReadOnlyViolation,
    SyncStore,
    stack,
)
from kvwrap.core.clock import SystemClock
from kvwrap.integrations.django import DjangoStore
from kvwrap.integrations.django.keyval import KeyVal
from kvwrap.integrations.django.keyval_table import KeyValTable
from kvwrap.testing.servers import PostgreSQLServer, SharedServers
from tests.integrations.django import project
from tests.parity import keyval_double

KEYRING = Keyring.generate()
Connect = Callable[[str], Any]


@pytest.fixture(params=["django on sqlite", "django on postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, servers: SharedServers
) -> Iterator[str]:
    alias = f"t{uuid.uuid4().hex}"
    if request.param == "django on sqlite":
        settings = project.sqlite(tmp_path / "django.db")
    else:
        settings = project.postgresql(servers.url(PostgreSQLServer), alias)
    project.orm_store(alias, settings, SystemClock())
    yield alias
    connections[alias].close()


def theirs(alias: str) -> Connect:
    keyval_double.make_table(alias)

    class Theirs(keyval_double.KeyVal):
        pass

    Theirs.alias = alias
    return Theirs


@pytest.fixture(params=["bare", "layered", "theirs"])
def connect(request: pytest.FixtureRequest, database: str) -> Iterator[Connect]:
    """What connects to a name."""
    if request.param == "theirs":
        yield theirs(database)
        return
    layers = stack() if request.param == "bare" else stack().compress(min_size=0).encrypt(KEYRING)
    with kvwrap.sync(layers.over(DjangoStore(database))) as store:
        yield partial(KeyVal, store=store)


def test_set_tells_whether_the_key_is_new(connect: Connect) -> None:
    values = connect("a")
    assert values.set("k", {"n": [1, None, "ä"]})
    assert not values.set("k", 2)
    assert values.get("k") == 2


def test_get_and_its_default(connect: Connect) -> None:
    values = connect("a")
    with pytest.raises(KeyError):
        values.get("k")
    assert values.get_default("k", 5) == 5
    values.set("k", {"n": 1})
    assert values.get("k") == values.get_default("k", 5) == {"n": 1}


def test_pop_and_its_default(connect: Connect) -> None:
    values = connect("a")
    values.set("k", 1)
    assert values.pop("k") == 1
    with pytest.raises(KeyError):
        values.pop("k")
    assert values.pop_default("k", 5) == 5
    values.set("k", 2)
    assert values.pop_default("k", 5) == 2
    assert not values.exists("k")


def test_exists_and_delete(connect: Connect) -> None:
    values = connect("a")
    assert not values.exists("k")
    values.set("k", 1)
    assert values.exists("k")
    assert values.delete("k")
    with pytest.raises(KeyError):
        values.delete("k")
    assert not values.delete("k", ignore_keyerror=True)


def test_flush_and_flush_all(connect: Connect) -> None:
    first, second, third = connect("a"), connect("b"), connect("c")
    for values in (first, second, third):
        values.set("k", 1)
    first.flush()
    assert [values.exists("k") for values in (first, second, third)] == [False, True, True]
    first.flush_all()
    assert not second.exists("k")
    assert not third.exists("k")


def test_every_use_fails_after_disconnect(connect: Connect) -> None:
    values = connect("a")
    values.disconnect()
    for use in (values.get, values.exists, values.pop, values.delete):
        with pytest.raises(NameError):
            use("k")
    with pytest.raises(NameError):
        values.set("k", 1)
    with pytest.raises(NameError):
        values.flush()
    values.flush_all()


# -- moving ---------------------------------------------------------------------------------


def view(alias: str, **options: Any) -> SyncStore:
    return kvwrap.sync(KeyValTable(alias, **options))


def test_its_table_is_read_only_when_pickles_are_asked_for(database: str) -> None:
    values = theirs(database)("shop")
    values.set("a", {"n": 1})
    values.set("b", "ä")
    with view(database) as source:
        assert source.collections() == ["shop"]
        assert sorted(source.keys("shop")) == ["a", "b"]
        assert source.get("missing", collection="shop") is None
        with pytest.raises(CorruptEntry, match="serializer='pickle'"):
            source.get("a", collection="shop")
    with view(database, serializer="pickle") as source:
        assert source.get_many(["a", "b", "c"], collection="shop") == [{"n": 1}, "ä", None]
        assert source.get("a") is None
        assert source.keys() == []
        for change in (partial(source.put, "a", 1), partial(source.delete, "a")):
            with pytest.raises(ReadOnlyViolation):
                change()
        source.check()
    with pytest.raises(ConfigurationError, match="must be 'pickle'"):
        view(database, serializer="json")


def test_values_that_are_no_pickles(database: str) -> None:
    keyval_double.make_table(database)
    with connections[database].cursor() as cursor:
        for key in ("ключ", "{1}"):
            insert = f"INSERT INTO {keyval_double.TABLE} (name, key, value) VALUES (%s, %s, %s)"
            cursor.execute(insert, ("shop", key, key))
    with view(database, serializer="pickle") as source:
        for key in ("ключ", "{1}"):
            with pytest.raises(CorruptEntry) as raised:
                source.get(key, collection="shop")
            assert raised.value.key == key


def test_a_missing_table(database: str) -> None:
    with view(database) as source, pytest.raises(ConfigurationError):
        source.check()


async def test_its_data_moves(database: str) -> None:
    def fill() -> None:
        values = theirs(database)("shop")
        for number in range(1100):
            values.set(f"key-{number}", [number])
        values.set("object", {1, 2})

    project.in_thread(fill)
    layers = stack().compress(min_size=0).encrypt(KEYRING)
    async with (
        KeyValTable(database, serializer="pickle") as source,
        layers.over(MemoryStore()) as target,
    ):
        report = await kvwrap.copy(source, target)
        assert (report.copied, report.failed) == (1100, 1)  # a set is no JSON
        assert await target.get("key-7", collection="shop") == [7]
