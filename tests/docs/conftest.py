"""What the code of the documentation imports, and the tests do not install."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.integrations.django import project
from tests.parity.keyval_double import KeyVal, make_table
from tests.stores.adapted.objects import KeyValueStore


@pytest.fixture(autouse=True)
def steamship(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a double of Steamship in its place, whose package needs pydantic 1 and an account."""
    stored: dict[str, KeyValueStore] = {}

    def open_store(client: object, store_identifier: str = "KeyValueStore") -> KeyValueStore:
        return stored.setdefault(store_identifier, KeyValueStore())

    package, utils, module = (
        ModuleType(name) for name in ("steamship", "steamship.utils", "steamship.utils.kv_store")
    )
    package.Steamship = object  # type: ignore[attr-defined]  # the client of an account
    module.KeyValueStore = open_store  # type: ignore[attr-defined]
    for each in (package, utils, module):
        monkeypatch.setitem(sys.modules, each.__name__, each)


class TheirKeyVal(KeyVal):
    """The double, in a project that has its table."""

    def __init__(self, name: str) -> None:
        project.set_up()
        make_table("default")
        super().__init__(name)


@pytest.fixture(autouse=True)
def django_keyval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a double of django-keyval in its place, whose package needs Python 2."""
    package, module = ModuleType("django_keyval"), ModuleType("django_keyval.models")
    module.KeyVal = TheirKeyVal  # type: ignore[attr-defined]
    for each in (package, module):
        monkeypatch.setitem(sys.modules, each.__name__, each)
