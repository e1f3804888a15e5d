"""PostgreSQLStore: its arguments and URLs, and the errors of the driver by their numbers."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from kvwrap import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    PostgreSQLStore,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    store_from_url,
)
from kvwrap.stores.postgresql.errors import translate_error
from kvwrap.stores.postgresql.statements import is_table_name

URL = "postgresql://user:hunter2@db"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "redis://h"}, "must begin with postgresql://"),
        ({"url": None}, "needs a `url` such as"),
        ({"url": f"{URL}/d?table=t"}, "pass them as arguments, or the URL to store_from_url"),
        ({"url": f"{URL}:99999/d"}, "ports from 0 to 65535"),
        ({"url": f"{URL}/d#"}, "no '#'"),
        ({"table": "a b"}, "`table` must be at most 52 letters"),
        ({"table": 'a"; DROP TABLE b; --'}, "`table` must be"),
        ({"table": "x" * 53}, "`table` must be"),
        ({"table": "a.b.c"}, "`table` must be"),
        ({"timeout": 0}, "timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"notify": 1}, "notify"),
        ({"prepared": "yes"}, "prepared"),
        ({"target": "master"}, "`target` must be one of any, primary"),
        ({"ca": "/nowhere/ca.pem"}, "`ca` must be a file"),
        ({"tls": False, "ca": "ca.pem"}, "`tls` must be true"),
        ({"client": object()}, "`client` must be the only option"),
    ],
)
def test_options_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        PostgreSQLStore(**{"url": f"{URL}/d", **arguments})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tabel=t", "did you mean 'table'"),
        ("table=t&table=u", "given once"),
        ("timeout=soon", "a number or `none`"),
        ("target=master", "`target` must be one of"),
    ],
)
def test_urls_that_are_refused(query: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        store_from_url(f"{URL}/d?{query}")
    assert "hunter2" not in str(caught.value)


def test_urls_with_everything() -> None:
    url = "postgresql://us%40er:pa%2Fss@a:1,[::1]:2,c/my%20db?table=app.t&timeout=none&notify=true"
    store = store_from_url(url)
    assert store.location == (
        "table 'app.t' in database 'my db' of PostgreSQL at a:1,[::1]:2,c:5432"
    )
    assert "pa" not in repr(store).replace("app", "")


def test_names_of_tables() -> None:
    for name in ("kvwrap", "_1", "App.Entries", "x" * 52):
        assert is_table_name(name)
    for bad in ("", "1a", "a-b", ".a", "a.", 'a"b', "é", "a\n", None):
        assert not is_table_name(bad)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (asyncpg.DiskFullError("hunter2"), StoreFull, "no space left"),
        (asyncpg.TooManyConnectionsError("hunter2"), StoreUnavailable, "as many connections"),
        (asyncpg.ReadOnlySQLTransactionError("hunter2"), StoreUnavailable, "is read-only"),
        (asyncpg.CannotConnectNowError("hunter2"), StoreUnavailable, "starting or shutting down"),
        (asyncpg.DeadlockDetectedError("hunter2"), StoreUnavailable, "again and again"),
        (asyncpg.SerializationError("hunter2"), StoreUnavailable, "again and again"),
        (asyncpg.InsufficientPrivilegeError("hunter2"), AccessDenied, "does not permit"),
        (asyncpg.UndefinedTableError("hunter2"), ConfigurationError, "table="),
        (asyncpg.UndefinedColumnError("hunter2"), ConfigurationError, "table="),
        (asyncpg.QueryCanceledError("hunter2"), StoreTimeout, "did not answer in time"),
        (asyncpg.ProgramLimitExceededError("hunter2"), ValueTooLarge, "cannot hold"),
        (asyncpg.InvalidSQLStatementNameError("hunter2"), StoreUnavailable, "prepared=False"),
        (asyncpg.CheckViolationError("hunter2"), StoreUnavailable, "CheckViolationError 23514"),
        (asyncpg.InterfaceError("hunter2"), StoreUnavailable, "cannot be reached"),
    ],
)
def test_errors_of_the_driver(error: Exception, expected: type[KvwrapError], message: str) -> None:
    translated = translate_error(error, "PostgreSQL at db:5432", "t", store="s", key="k")
    assert type(translated) is expected
    assert message in str(translated)
    assert "PostgreSQL at db:5432" in str(translated)
    assert (translated.store, translated.key) == ("s", "k")
    assert "hunter2" not in str(translated)
