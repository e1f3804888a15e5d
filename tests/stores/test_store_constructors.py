"""Every store's constructor refuses what cannot work, by a typed error."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, RedisStore
from kvwrap.core.registry import STORES, store_class

NONSENSE: tuple[Any, ...] = (-1, math.nan, math.inf, 10**400, "", [1], b"x", object())
GIVEN = {"sqlite": {"path": "never-opened.db"}}
# Sizes that nothing will ever reach are sense all the same.
TAKES: set[tuple[str, object]] = {
    ("max_entries", 10**400),
    ("max_bytes", 10**400),
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
def test_nonsense_is_refused(name: str, parameter: str) -> None:
    for value in NONSENSE:
        try:
            store_class(name)(**{**GIVEN.get(name, {}), parameter: value})
        except ConfigurationError:
            continue
        assert isinstance(value, int | str), f"{parameter} takes {value!r}"
        assert (parameter, value) in TAKES, f"{parameter} takes {value!r}"


def test_a_serializer_may_be_called_by_its_name() -> None:
    named: Any = "msgpack"
    assert MemoryStore(serializer=named).serializer.name == "msgpack"
    wrong: Any = "msgpak"
    with pytest.raises(ConfigurationError, match="did you mean 'msgpack'"):
        MemoryStore(serializer=wrong)


def test_a_password_that_is_none_is_not_told() -> None:
    wrong: Any = b"hidden"
    with pytest.raises(ConfigurationError) as raised:
        RedisStore(host="localhost", password=wrong)
    assert "hidden" not in str(raised.value)
