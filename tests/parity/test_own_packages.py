"""The work of other systems over their own packages, whose stores are adapted, under layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kvwrap
from kvwrap import Keyring, SyncStore, UnsupportedOperation, stack
from tests.stores.adapted.objects import (
    KeyValueStore,
    make_great_expectations,
    make_keyvalue_sqlite,
)

LAYERS = {
    "bare": stack(),
    "layered": stack().statistics().compress(min_size=1).encrypt(Keyring.generate()),
}
SUITE = ("expectations", "taxi", "v1")


@pytest.fixture(params=LAYERS)
def over(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], SyncStore]]:
    """A function that returns a blocking view of a stack over an object."""
    opened: list[SyncStore] = []

    def make(obj: Any) -> SyncStore:
        opened.append(kvwrap.sync(LAYERS[request.param].over(kvwrap.adapt(obj, timeout=60))))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_keyvalue_sqlite(over: Callable[[Any], SyncStore], tmp_path: Path) -> None:
    table = make_keyvalue_sqlite(tmp_path)
    values = kvwrap.mapping(over(table))
    values["a"] = {"x": [1, None]}
    values.update({"b": "text", "c": 5})
    assert values["a"] == {"x": [1, None]}
    assert values.get("missing", "default") == "default"
    assert values.get_many({"a", "c", "missing"}) == {"a": {"x": [1, None]}, "c": 5}
    assert values.key_range("a", "b") == ["a", "b"]
    assert values.get_range("b", "c") == [("b", "text"), ("c", 5)]
    assert values.dict_range("b", "c") == {"b": "text", "c": 5}
    assert "b" in values
    assert len(values) == 3
    del values["b"]
    assert values.to_dict() == {"a": {"x": [1, None]}, "c": 5}
    with pytest.raises(UnsupportedOperation):  # its package has no atomic means to tell
        values.atomic_add("c", 1)
    values.clear()
    assert table.keys() == []


def test_great_expectations(over: Callable[[Any], SyncStore], tmp_path: Path) -> None:
    backend = make_great_expectations(tmp_path)
    theirs = backend.store_backend_id
    suites = kvwrap.tuples(over(backend), "suites")
    suites.put(SUITE, {"expectations": []})
    suites.put(("other",), "text")
    assert suites.get(SUITE) == {"expectations": []}
    assert suites.has_key(SUITE)
    assert suites.list_keys() == [SUITE, ("other",)]
    assert suites.list_keys(prefix=("expectations",)) == [SUITE]
    assert suites.move(SUITE, ("moved", "a/b"))
    assert suites.list_keys() == [("moved", "a/b"), ("other",)]
    assert suites.remove_key(("other",))
    assert not suites.remove_key(("other",))
    assert backend.store_backend_id == theirs


def test_steamship(over: Callable[[Any], SyncStore]) -> None:
    tags = KeyValueStore()
    store = over(tags)
    assert store.get("key") is None
    store.put("key", {"n": 1})
    store.put_many(["a", "b"], [{"n": 2}, {"n": 3}])
    assert store.get("key") == {"n": 1}
    assert sorted(store.items()) == [("a", {"n": 2}), ("b", {"n": 3}), ("key", {"n": 1})]
    assert kvwrap.mapping(store).get_many(["a", "missing"]) == {"a": {"n": 2}}
    assert store.delete("a")
    assert not store.delete("a")
    assert store.destroy()
    assert tags.items() == []
