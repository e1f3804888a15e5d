"""The constructors of all stores refuse invalid arguments with a typed error."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, RedisStore, store_from_url
from kvwrap.core.registry import STORES, store_class

INVALID: tuple[Any, ...] = (-1, math.nan, math.inf, 10**400, "", "\ud800", [1], b"x", object())
REQUIRED: dict[str, dict[str, str]] = {
    "dynamodb": {"region": "eu-1"},
    "etcd": {"url": "etcd://localhost"},
    "az": {"url": "az://container"},
    "elasticsearch": {"url": "elasticsearch://localhost"},
    "file-tree": {"folder": "never-opened"},
    "lmdb": {"folder": "never-opened"},
    "mongodb": {"url": "mongodb://localhost"},
    "nats": {"url": "nats://localhost"},
    "opensearch": {"url": "opensearch://localhost"},
    "postgresql": {"url": "postgresql://localhost/d"},
    "s3": {"url": "s3://bucket"},
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


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_a_refusal_names_the_argument(name: str, parameter: str) -> None:
    given = {**REQUIRED.get(name.removesuffix("+srv"), {}), parameter: object()}
    with pytest.raises(ConfigurationError, match=rf"(?i)\b{parameter}\b"):
        store_class(name)(**given)


@pytest.mark.parametrize("name", sorted({*STORES} - {"mongodb+srv"}))
def test_every_store_takes_the_name_of_its_default_collection(name: str) -> None:
    arguments: dict[str, Any] = {**REQUIRED.get(name, {}), "default_collection": "home"}
    assert store_class(name)(**arguments).default_collection == "home"


@pytest.mark.parametrize(
    "url",
    [
        "az://container?",
        "dynamodb://table?region=eu-1",
        "etcd://localhost?",
        "elasticsearch://localhost?",
        "file-tree:///never-opened?",
        "lmdb:///never-opened?",
        "memcached://localhost?",
        "memory://?",
        "mongodb://localhost?",
        "nats://localhost?",
        "postgresql://localhost/d?",
        "redis://localhost?",
        "s3://bucket?",
        "sqlite:///never-opened.db?",
        "valkey://localhost?",
    ],
)
def test_the_default_collection_is_an_option_of_urls(url: str) -> None:
    assert store_from_url(f"{url}&default_collection=home").default_collection == "home"


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


OPTIONS = [
    pytest.param(name, option, id=f"{name}-{option}")
    for name in sorted({*STORES} - {"mongodb+srv"})
    for listed in re.findall(
        r"Options: ((?:`\w+`[,\s]*)+)", getattr(store_class(name).from_url, "__doc__", "") or ""
    )
    for option in re.findall(r"\w+", listed)
]
URLS = {
    "az": "az://container?",
    "dynamodb": "dynamodb://table?region=eu-1&",
    "file-tree": "file-tree:///never-opened?",
    "lmdb": "lmdb:///never-opened?",
    "memory": "memory://?",
    "postgresql": "postgresql://localhost/d?",
    "s3": "s3://bucket?",
    "sqlite": "sqlite:///never-opened.db?",
}


def test_options_are_listed() -> None:
    assert len(OPTIONS) > 20


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_the_options_that_a_store_lists_are_known(name: str, option: str) -> None:
    url = URLS.get(name, f"{name}://localhost?")
    try:
        store_from_url(f"{url}{option}=\0")
    except ConfigurationError as error:
        problem = str(error)
    else:
        problem = ""
    assert "unknown URL option" not in problem
