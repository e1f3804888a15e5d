"""`DjangoStore`: the thread and the transaction of its calls, several databases, errors."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings

import kvwrap
from kvwrap import (
    AccessDenied,
    Capability,
    ConfigurationError,
    InvalidKey,
    Keyring,
    Stack,
    StoreTimeout,
    StoreUnavailable,
    SyncStore,
    stack,
)
from kvwrap.core.clock import SystemClock
from kvwrap.integrations.django import DjangoStore
from kvwrap.testing import ManualClock
from tests.integrations.django import project
from tests.integrations.django.project import refusal

KEYRING = Keyring({"k": b"k" * 32})
STACKS: dict[str, Stack] = {
    "bare": stack(),
    "encrypted": stack().compress(min_size=0).encrypt(KEYRING),
    "with tasks of layers": stack().retry().timeout(60).coalesce().encrypt(KEYRING),
}


@pytest.fixture(params=STACKS)
def view(request: pytest.FixtureRequest, alias: str) -> Iterator[SyncStore]:
    with kvwrap.sync(STACKS[request.param].over(DjangoStore(alias))) as view:
        yield view


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


# -- blocking callers ----------------------------------------------------------------------


def test_a_call_is_part_of_the_callers_transaction(view: SyncStore, alias: str) -> None:
    view.put("kept", 1)
    with rolled_back(alias):
        view.put_many(["a", "b"], [1, 2])
        assert view.increment("kept") == 2
        assert view.delete("kept")
        assert view.put_if_absent("c", 3)
        assert sorted(view.scan()) == ["a", "b", "c"]
        assert view.get_or_put("d", lambda: view.get("a") + 3) == 4
    assert view.keys() == ["kept"]
    assert view.get("kept") == 1


def test_every_query_is_one_of_the_callers_connection(view: SyncStore, alias: str) -> None:
    with CaptureQueriesContext(connections[alias]) as queries:
        view.put("a", 1)
        assert view.get("a") == 1
        assert dict(view.items()) == {"a": 1}
    assert len(queries) >= 3


def test_each_thread_has_its_own_transaction(view: SyncStore, alias: str) -> None:
    view.put("a", 0)
    found: list[Any] = []

    def look() -> None:
        found.append(view.get("a"))
        connections.close_all()

    with transaction.atomic(using=alias):
        view.delete("b")
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        view.put("a", 1)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [0, 1]


def test_an_error_of_a_call_leaves_the_transaction_intact(alias: str) -> None:
    with kvwrap.sync(DjangoStore(alias)) as view, transaction.atomic(using=alias):
        view.put("a", 1)
        with pytest.raises(InvalidKey):
            view.put_many(["b", "x" * 2000], [1, 2])
        with pytest.raises(kvwrap.SerializationError):
            view.put("c", object())
        assert view.keys() == ["a"]


def test_a_broken_transaction_is_told(alias: str) -> None:
    with kvwrap.sync(DjangoStore(alias)) as view, transaction.atomic(using=alias):
        connections[alias].needs_rollback = True
        with pytest.raises(StoreUnavailable, match=r"leave its atomic\(\) block"):
            view.get("a")


def test_what_goes_on_after_the_call_has_a_thread(alias: str, tmp_path: Path) -> None:
    """Write-behind sends when no caller waits."""
    layers = stack().write_behind(tmp_path / "journal")
    with kvwrap.sync(layers.over(DjangoStore(alias))) as view:
        view.put_many(["a", "b"], [1, 2])
        view.run(view.layers[0].flush())  # type: ignore[attr-defined]  # of the layer
    with kvwrap.sync(DjangoStore(alias)) as view:
        assert view.get_many(["a", "b"]) == [1, 2]
    close_shared_thread()


def test_two_callers_that_share_a_batch_get_their_answers(alias: str) -> None:
    with kvwrap.sync(stack().coalesce().over(DjangoStore(alias))) as view:
        view.put_many([str(n) for n in range(8)], list(range(8)))
        found: list[Any] = []

        def read(number: int) -> None:
            found.extend(view.get(str(number)) for _ in range(20))
            connections.close_all()

        threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == sorted(list(range(8)) * 20)


def close_shared_thread() -> None:
    asyncio.run(sync_to_async(connections.close_all)())


# -- async callers -------------------------------------------------------------------------


async def test_async_callers_use_the_thread_of_django(alias: str) -> None:
    async with DjangoStore(alias) as store:
        await store.put("a", 1)
        mine = await sync_to_async(lambda: connections[alias].connection)()
        assert mine is not None
        await store.put("b", 1)
        assert await sync_to_async(lambda: connections[alias].connection)() is mine


async def test_a_blocking_view_within_async_code_is_in_the_same_transaction(alias: str) -> None:
    view = kvwrap.sync(DjangoStore(alias))
    other = DjangoStore(alias)

    def work() -> None:
        with rolled_back(alias):
            view.put("a", 1)
            assert view.get("a") == 1

    await sync_to_async(work)()
    assert await other.get("a") is None
    await sync_to_async(view.close)()
    await other.close()


def test_closing_closes_the_connection_outside_of_transactions(alias: str) -> None:
    with kvwrap.sync(DjangoStore(alias)) as view:
        view.put("a", 1)
        assert connections[alias].connection is not None
    assert connections[alias].connection is None
    with transaction.atomic(using=alias), kvwrap.sync(DjangoStore(alias)) as view:
        view.put("b", 2)
        view.close()
        assert connections[alias].connection is not None
    with kvwrap.sync(DjangoStore(alias)) as view:
        assert view.get("b") == 2


# -- databases -----------------------------------------------------------------------------


class Router:
    """Sends the entries of kvwrap to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self.alias if model._meta.app_label == "kvwrap" else None

    db_for_write = db_for_read


def test_routers_choose_the_database(alias: str) -> None:
    routers = override_settings(DATABASE_ROUTERS=[Router(alias)])
    with routers, kvwrap.sync(DjangoStore()) as view:
        view.put("a", 1)
        assert view.get("a") == 1
    with kvwrap.sync(DjangoStore(alias)) as view:
        assert view.get("a") == 1


def test_a_model_of_another_table(alias: str) -> None:
    with kvwrap.sync(DjangoStore(alias, model="kvwrap.Entry")) as view:
        view.put("a", 1)
    with kvwrap.sync(DjangoStore(alias, model=apps.get_model("kvwrap.Entry"))) as view:
        assert view.get("a") == 1


def test_the_location_names_the_database_and_no_password(alias: str) -> None:
    location = DjangoStore(alias).location
    settings = connections.settings[alias]
    assert str(settings["NAME"]) in location
    assert "kvwrap_entry" in location
    assert not settings["PASSWORD"] or settings["PASSWORD"] not in location


# -- names and lifetimes -------------------------------------------------------------------


def test_names_beyond_the_limit_are_refused_and_others_fit(alias: str) -> None:
    with kvwrap.sync(DjangoStore(alias)) as view:
        longest = "\U0010ffff" * 320
        view.put(longest, 1, collection=longest)
        assert view.keys(longest) == [longest]
        for call in (view.get, view.delete):
            with pytest.raises(InvalidKey, match=r"at most 1,280 bytes.*HashedKey"):
                call("x" * 1281)
        with pytest.raises(InvalidKey):
            view.put("a", 1, collection="é" * 641)


def test_expired_entries_are_swept_and_never_read(alias: str) -> None:
    clock = ManualClock()
    model = apps.get_model("kvwrap.Entry")
    with kvwrap.sync(DjangoStore(alias, clock=clock)) as view:
        view.put_many([str(n) for n in range(1200)], [0] * 1200, ttl=10)
        view.put("stays", 1)
        clock.advance(9.999)
        assert view.count() == 1201
        clock.advance(0.001)
        assert view.keys() == ["stays"]
        assert view.delete_many(["1", "2"]) == 0
        assert not view.delete("3")
        assert view.put_if_absent("4", 5)
        view.cull()
        assert model.objects.using(alias).count() == 2


# -- errors --------------------------------------------------------------------------------


def test_a_missing_table(alias: str) -> None:
    with connections[alias].schema_editor() as editor:
        editor.delete_model(apps.get_model("kvwrap.Entry"))
    error = refusal(DjangoStore(alias))
    assert isinstance(error, ConfigurationError)
    assert "manage.py migrate" in str(error)
    assert error.key == "key"


def test_an_application_that_is_not_installed(alias: str) -> None:
    with pytest.raises(ConfigurationError, match="INSTALLED_APPS"):
        kvwrap.sync(DjangoStore(alias, model="nowhere.Entry")).open()


def test_an_unknown_database() -> None:
    project.set_up()
    with pytest.raises(ConfigurationError, match=r"`using` must be one of.*'default'"):
        kvwrap.sync(DjangoStore("nowhere")).open()


def test_another_product(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections[alias].features, "supports_update_conflicts_with_target", False)
    with pytest.raises(ConfigurationError, match="must be SQLite or PostgreSQL"):
        kvwrap.sync(DjangoStore(alias)).open()


def test_a_locked_file(tmp_path: Path) -> None:
    settings = project.sqlite(tmp_path / "django.db")
    settings["OPTIONS"] = {"timeout": 0.05}
    store = project.orm_store(str(tmp_path), settings, SystemClock())
    other = sqlite3.connect(tmp_path / "django.db")
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(refusal(store), StoreTimeout)
    other.close()


# Django leaves a connection unclosed that fails while it is set up.
@pytest.mark.filterwarnings("ignore:.*unclosed database:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    store = project.orm_store(str(tmp_path), project.sqlite(tmp_path / "django.db"), SystemClock())
    (tmp_path / "django.db").write_bytes(b"not a database " * 1000)
    assert isinstance(refusal(store), StoreUnavailable)
    gc.collect()


def test_a_file_that_can_only_be_read(tmp_path: Path) -> None:
    project.orm_store(f"{tmp_path}", project.sqlite(tmp_path / "django.db"), SystemClock())
    settings = project.sqlite(tmp_path / "django.db")
    settings["NAME"] = f"file:{tmp_path}/django.db?mode=ro"
    settings["OPTIONS"]["uri"] = True
    connections.settings[f"{tmp_path} ro"] = settings
    assert isinstance(refusal(DjangoStore(f"{tmp_path} ro")), AccessDenied)


def test_migrations_are_those_of_the_model(alias: str) -> None:
    call_command("makemigrations", "kvwrap", check=True, dry_run=True, verbosity=0)
    with connections[alias].schema_editor() as editor:
        editor.delete_model(apps.get_model("kvwrap.Entry"))
    call_command("migrate", database=alias, verbosity=0)
    with kvwrap.sync(DjangoStore(alias)) as view:
        view.put("a", 1)
        assert Capability.RANGE in view.capabilities
    call_command("migrate", "kvwrap", "zero", database=alias, verbosity=0)
    assert "kvwrap_entry" not in connections[alias].introspection.table_names()
