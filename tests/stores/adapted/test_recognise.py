"""What an object is found to be, without an import of its package."""

from __future__ import annotations

import contextvars
import shelve
import subprocess
import sys
from collections import UserDict
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

from kvwrap import Capability, ConfigurationError, adapt, stack
from kvwrap.stores.adapted import AdaptedStore
from tests.stores.adapted.objects import OBJECTS, KeyValueStore, Plain

FOUND = {
    "shelve": "a mapping, entries as bytes, called on a thread",
    "diskcache": "a cache of diskcache, entries as bytes, called on a thread",
    "zict": "a mapping of zict, entries as bytes, called on a thread",
    "django cache": "a cache of Django, entries as bytes, called on a thread",
    "aiocache": "a cache of aiocache, entries as bytes, called on the event loop",
    "cashews": "a cache of cashews, entries as bytes, called on the event loop",
    "cachelib": "a cache of cachelib, entries as bytes, called on a thread",
    "keyvalue-sqlite": "a table of keyvalue-sqlite, entries as JSON objects, called on a thread",
    "great expectations": (
        "a store backend of Great Expectations, entries as text, called on a thread"
    ),
    "steamship": "a KeyValueStore of Steamship, entries as JSON objects, called on a thread",
    "obstore": "an object store of obstore, entries as bytes, called on the event loop",
    "zarr": "a store of Zarr, entries as bytes, called on the event loop",
    "langgraph": "a store of LangGraph, entries as JSON objects, called on the event loop",
    "get and set": "an object with get and set, entries as bytes, called on a thread",
    "async get and set": "an object with get and set, entries as bytes, called on the event loop",
}


@pytest.mark.parametrize("name", FOUND)
def test_explain_says_what_was_found(name: str, tmp_path: Path) -> None:
    obj = OBJECTS[name](tmp_path)
    store = adapt(obj)
    assert isinstance(store, AdaptedStore)
    first, can, *findings = store.explain().splitlines()
    assert first == f"AdaptedStore({type(obj).__name__}): {FOUND[name]}"
    assert can.startswith("can: ")
    assert not findings
    assert FOUND[name] in stack().statistics().over(obj).explain()


def test_every_object_of_the_tests_is_here() -> None:
    assert set(OBJECTS) - set(FOUND) == {"cachetools"}  # a mapping in memory has a store of its own


def test_nothing_is_imported_to_recognise_an_object() -> None:
    program = """
import sys
from kvwrap import adapt
class Plain:
    def get(self, key): ...
    def set(self, key, value): ...
print(adapt(Plain()).explain())
packages = {name.partition(".")[0] for name in sys.modules}
print(packages & {"aiocache", "cachelib", "cashews", "diskcache", "django", "great_expectations",
                  "keyvalue_sqlite", "langgraph", "obstore", "steamship", "zarr", "zict"})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def claims(obj: Any) -> bool:
    return Capability.COMPARE_AND_PUT in adapt(obj).capabilities


def test_conditional_writes_are_claimed_only_where_the_object_makes_them_atomic(
    tmp_path: Path,
) -> None:
    compares = {name for name, make in OBJECTS.items() if claims(make(tmp_path))}
    assert compares == {"cachetools", "diskcache"}
    assert claims({})
    assert claims(UserDict())


def test_only_what_can_list_is_enumerated(tmp_path: Path) -> None:
    lists = {
        name
        for name, make in OBJECTS.items()
        if {Capability.KEYS, Capability.DESTROY} <= adapt(make(tmp_path)).capabilities
    }
    assert set(OBJECTS) - lists == {"aiocache", "cachelib", "django cache", "get and set"}


def test_another_version_of_a_package_is_told() -> None:
    class Changed(KeyValueStore):
        items = None

    with pytest.raises(
        ConfigurationError,
        match=r"a KeyValueStore of Steamship must have the methods get, set, delete, items; this "
        r"Changed lacks items: it is of a version of steamship, whose interface",
    ):
        adapt(Changed())


def test_the_version_that_is_installed_is_named(tmp_path: Path) -> None:
    cache = OBJECTS["cachelib"](tmp_path)
    cache.get_many = None
    with pytest.raises(ConfigurationError, match=r"lacks get_many: it is of cachelib \d"):
        adapt(cache)


def test_another_version_of_the_protocol_is_told() -> None:
    class Changed(TheirMemoryStore):
        ttl_many = delete_many = None

    with pytest.raises(
        ConfigurationError, match=r"this Changed lacks ttl_many, delete_many: kvwrap knows .* 0\.5"
    ):
        adapt(Changed())


class OneArgument:
    def get(self) -> None: ...

    def set(self, value: object) -> None: ...


NO_STORES = [5, None, object(), "text", [1], contextvars.ContextVar("v"), OneArgument(), Plain]


@pytest.mark.parametrize("obj", NO_STORES, ids=lambda obj: type(obj).__name__)
def test_an_object_that_is_no_store_is_refused(obj: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a store, got"):
        adapt(obj)
    with pytest.raises(ConfigurationError, match=r"`obj` must be a mutable mapping, .* got"):
        AdaptedStore(obj)


class Own(MutableMapping[str, Any]):
    """A mapping of which nothing is known: it may wait for a disk."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.content[name] = value

    def __delitem__(self, name: str) -> None:
        del self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


async def test_a_mapping_of_unknown_kind_is_called_on_a_thread() -> None:
    own = Own()
    async with adapt(own) as store:
        assert "called on a thread" in store.explain()
        await store.put_many(["a", "b"], [1, 2])
        assert set(own.content) == {"a", "b"}
        assert await store.keys() == ["a", "b"]


def test_a_file_that_one_thread_may_use_is_called_on_the_event_loop() -> None:
    class _Database(Own):
        """Stands for the class of a dbm file in Python 3.13."""

    _Database.__module__, _Database.__qualname__ = "dbm.sqlite3", "_Database"
    for obj in (_Database(), shelve.Shelf(_Database())):
        assert "called on the event loop" in adapt(obj).explain()
    assert "called on a thread" in adapt(shelve.Shelf(Own())).explain()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "bytes"}, "`form` must be left out for a mapping"),
        ({"namespace": ("a",)}, "`namespace` must be left out for a mapping"),
        ({"namespace": "a"}, "`namespace` must be a tuple of names"),
        ({"namespace": ()}, "`namespace` must be a tuple of names"),
        ({"timeout": 0}, "`timeout` must be"),
        ({"raw": 1}, "`raw` must be"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        adapt(Own(), **options)


def test_the_form_of_an_unknown_object_can_be_chosen() -> None:
    for form, title in (("text", "text"), ("json", "JSON objects"), ("bytes", "bytes")):
        assert f"entries as {title}," in adapt(Plain(), form=form).explain()
    with pytest.raises(ConfigurationError, match="`form` must be one of 'bytes', 'text', 'json'"):
        adapt(Plain(), form="yaml")


ROWS = {
    "shelve": "shelve, dbm",
    "zict": "zict",
    "diskcache": "diskcache:",
    "django cache": "Django:",
    "aiocache": "aiocache",
    "cashews": "cashews:",
    "cachelib": "cachelib",
    "keyvalue-sqlite": "keyvalue-sqlite",
    "great expectations": "Great Expectations:",
    "steamship": "Steamship:",
    "obstore": "obstore",
    "zarr": "Zarr 3:",
    "langgraph": "LangGraph:",
    "get and set": "an object with `get(key)`",
    "async get and set": "the same, with coroutine functions",
}
"""How the rows of the table of `docs/stores/adapt.md` begin, by the object of the tests."""


EMPTY = "\N{EN DASH}"


def test_the_table_of_the_page_is_true(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "stores" / "adapt.md").read_text()
    table = page.partition("| object | entries as |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) == len(ROWS) == len(FOUND)
    for name, beginning in ROWS.items():
        (row,) = [row for row in table if row.startswith(f"| {beginning}")]
        _, form, place, lists, lifetime, conditions = row.strip("|").split(" | ")
        store = adapt(OBJECTS[name](tmp_path))
        assert f"entries as {form}, called on {place}" in store.explain(), name
        can = store.capabilities
        assert (lists.strip() != EMPTY) is (Capability.KEYS in can), name
        assert (lifetime.strip() == "native") is (Capability.NATIVE_TTL in can), name
        assert (conditions.strip() == "yes") is (Capability.COMPARE_AND_PUT in can), name
