"""`KeyVal`, the command `keyval` and the admin."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import RequestFactory
from django.test.utils import override_settings

import kvwrap
from kvwrap import Keyring, Store, stack
from kvwrap.integrations.django import DjangoStore
from kvwrap.integrations.django.keyval import KeyVal, shared_store
from tests.integrations.django import project

project.set_up()
KEYRING = Keyring.generate()


def encrypted() -> Store:
    return stack().compress(min_size=0).encrypt(KEYRING).over(DjangoStore())


@pytest.fixture(params=[None, encrypted])
def values(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The values of a name, in a transaction that is rolled back."""
    place = {}
    if request.param is not None:
        monkeypatch.setattr(project, "encrypted", request.param, raising=False)
        place["KVWRAP_KEYVAL"] = f"{project.__name__}.encrypted"
    with override_settings(**place), transaction.atomic():
        yield KeyVal.connect("name")
        transaction.set_rollback(True)


def test_its_methods(values: KeyVal) -> None:
    assert values.set("k", {"n": [1]})
    assert not values.set("k", 2)
    assert values.get("k") == values.get_default("k", 5) == 2
    assert values.exists("k")
    assert values.pop("k") == 2
    assert values.get_default("k", 5) == values.pop_default("k", 5) == 5
    for call in (values.get, values.pop, values.delete):
        with pytest.raises(KeyError):
            call("k")
    assert not values.delete("k", ignore_keyerror=True)
    values.set("k", None)
    assert values.pop("k") is None
    values.set("k", 1)
    assert values.delete("k")


def test_flushing(values: KeyVal) -> None:
    other = KeyVal("other")
    values.set("k", 1)
    other.set("k", 2)
    values.flush()
    assert not values.exists("k")
    assert other.exists("k")
    values.disconnect()
    with pytest.raises(NameError):
        values.get("k")
    values.flush_all()
    assert not other.exists("k")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("keyval", *arguments, stdout=out)
    return out.getvalue()


def test_the_command(values: KeyVal) -> None:
    assert run("-c", "set", "-n", "name", "-k", "k", "-V", "ä") == "new\n"
    assert run("-c", "set", "-n", "name", "-k", "k", "-V", '{"n": 1}', "--json") == "replaced\n"
    assert values.get("k") == {"n": 1}
    assert run("-c", "get", "-n", "name", "-k", "k") == '{"n": 1}\n'
    assert run("-c", "list", "-n", "name") == "k\n"
    assert run("-c", "delete", "-n", "name", "-k", "k") == "deleted\n"
    for wrong in (["get", "-k", "k"], ["get"], ["set", "-k", "k"], ["del", "-k", "k"]):
        with pytest.raises(CommandError):
            run("-c", wrong[0], "-n", "name", *wrong[1:])
    values.set("k", 1)
    run("-c", "flush", "-n", "name")
    assert not values.exists("k")


def test_the_admin_lists_and_finds_entries() -> None:
    from django.apps import apps

    model = apps.get_model("kvwrap.Entry")
    page = admin.site.get_model_admin(model)
    request = RequestFactory().get("/")
    with transaction.atomic():
        shared_store().put_many(["abc", "abd", "b"], ["secret"] * 3, collection="c", ttl=60)
        found, _ = page.get_search_results(request, model.objects.all(), "ab")
        rows = found.order_by("key")
        assert [(row.key_name, row.collection_name) for row in rows] == [("abc", "c"), ("abd", "c")]
        assert all(page.size(row) > 20 and row.expiry is not None for row in rows)
        assert str(rows[0]) == "c: abc"
        assert not page.has_add_permission(request)
        assert not page.has_change_permission(request)
        transaction.set_rollback(True)


def test_a_view_of_ones_own() -> None:
    with kvwrap.sync(kvwrap.MemoryStore()) as store:
        assert KeyVal("name", store).set("k", 1)
        assert store.get("k", collection="name") == 1
