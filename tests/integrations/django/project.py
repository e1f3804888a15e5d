"""The Django project of the tests: settings, and databases that are added to them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections

import kvwrap
from kvwrap import KvwrapError
from kvwrap.core.clock import Clock
from kvwrap.integrations.django import DjangoStore

DEFAULTS = {
    "ATOMIC_REQUESTS": False,
    "AUTOCOMMIT": True,
    "CONN_MAX_AGE": 0,
    "CONN_HEALTH_CHECKS": False,
    "OPTIONS": {},
    "TIME_ZONE": None,
    "NAME": "",
    "USER": "",
    "PASSWORD": "",
    "HOST": "",
    "PORT": "",
    "TEST": {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None},
}


def set_up() -> None:
    """Configure Django, unless another test has."""
    if settings.configured:
        return
    folder = tempfile.mkdtemp(prefix="kvwrap-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings.configure(
        SECRET_KEY="tests",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "kvwrap.integrations.django",
        ],
        DATABASES={"default": sqlite(Path(folder) / "default.db")},
        USE_TZ=True,
    )
    django.setup()
    in_thread(partial(call_command, "migrate", verbosity=0))


def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function where no event loop runs. Returns its result, after closing connections."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(function())
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def sqlite(path: Path) -> dict[str, Any]:
    """Return the settings of a database in a file."""
    return {
        **DEFAULTS,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        # No test stops the machine.
        "OPTIONS": {"timeout": 60, "init_command": "PRAGMA synchronous=OFF"},
    }


def postgresql(url: str, schema: str) -> dict[str, Any]:
    """Return the settings of a schema of its own on a server."""
    parts = urlsplit(url)
    return {
        **DEFAULTS,
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": str(parts.port),
        "OPTIONS": {"options": f"-c search_path={schema}"},
    }


def orm_store(alias: str, database: dict[str, Any], clock: Clock) -> DjangoStore:
    """Return a store on a database that is added to the settings, with its table."""
    set_up()
    connections.settings.setdefault(alias, database)
    in_thread(partial(create_table, alias))
    return DjangoStore(alias, clock=clock)


def create_table(alias: str) -> None:
    """Create the table of entries, unless it is there."""
    connection = connections[alias]
    if connection.vendor == "postgresql":
        schema = connection.settings_dict["OPTIONS"]["options"].rpartition("=")[2]
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    model = apps.get_model("kvwrap.Entry")
    if model._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(model)


def refusal(store: DjangoStore) -> KvwrapError:
    """Return the error of a call, which names the key and not the value."""
    with kvwrap.sync(store) as view, pytest.raises(KvwrapError) as raised:
        view.put("key", "the value")
    assert raised.value.key == "key"
    assert "the value" not in str(raised.value)
    return raised.value
