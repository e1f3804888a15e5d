"""The constructors of all stores refuse invalid arguments with a typed error."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, RedisStore
from kvwrap.core.registry import STORES, store_class

INVALID: tuple[Any, ...] = (-1, math.nan, math.inf, 10**400, "", [1], b"x", object())
REQUIRED: dict[str, dict[str, str]] = {
    "file-tree": {"folder": "never-opened"},
    "lmdb": {"folder": "never-opened"},
    "mongodb": {"url": "mongodb://localhost"},
    "nats": {"url": "nats://localhost"},
    "postgresql": {"url": "postgresql://localhost/d"},
    "sqlite": {"path": "never-opened.db"},
}
# Limits that nothing can reach are valid all the same.
ACCEPTED: set[tuple[str, object]] = {
    ("max_entries", 10**400),
    ("max_bytes", 10**400),
    ("max_entries_per_collection", 10**400),
    ("max_concurrency", 10**400),
    ("replicas", 10**400),
    ("max_connections", 10**400),
    ("username", ""),
    ("password", ""),
}
PARAMETERS = [
    pytest.param(name, parameter, id=f"{name}-{parameter}")
    for name in STORES
    if name != "rediss"
    for parameter in inspect.signature(store_class(name)).parameters
]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_invalid_arguments_are_refused(name: str, parameter: str) -> None:
    for value in INVALID:
        try:
            store_class(name)(**{**REQUIRED.get(name, {}), parameter: value})
        except ConfigurationError:
            continue
        assert isinstance(value, int | str), f"{parameter} accepts {value!r}"
        assert (parameter, value) in ACCEPTED, f"{parameter} accepts {value!r}"


def test_a_serializer_may_be_given_by_name() -> None:
    named: Any = "msgpack"
    assert MemoryStore(serializer=named).serializer.name == "msgpack"
    wrong: Any = "msgpak"
    with pytest.raises(ConfigurationError, match="did you mean 'msgpack'"):
        MemoryStore(serializer=wrong)


def test_an_invalid_password_is_not_shown() -> None:
    wrong: Any = b"hidden"
    with pytest.raises(ConfigurationError) as raised:
        RedisStore(host="localhost", password=wrong)
    assert "hidden" not in str(raised.value)
