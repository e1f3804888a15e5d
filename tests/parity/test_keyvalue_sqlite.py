"""The operations of keyvalue-sqlite, a dict over one SQLite table, through `kvwrap.mapping`."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import kvwrap
from kvwrap import SQLiteStore, SyncStore
from kvwrap.views.mapping import StoreMapping


@pytest.fixture
def table(store: SyncStore) -> StoreMapping:
    """A collection, as one of its tables."""
    return kvwrap.mapping(store, "table")


def test_set_and_get(table: StoreMapping) -> None:
    table["key"] = {"text": "ä", "list": [1, 2.5, None, True]}
    assert table["key"] == table.get("key") == {"text": "ä", "list": [1, 2.5, None, True]}
    table["key"] = "another"
    assert table["key"] == "another"
    assert table.get("missing") is None
    assert table.get("missing", 5) == 5
    with pytest.raises(KeyError):
        table["missing"]


def test_set_default(table: StoreMapping) -> None:
    table.set_default("key", 1)
    table.set_default("key", 2)
    assert table["key"] == 1


def test_get_many(table: StoreMapping) -> None:
    table.update({"a": 1, "b": 2, "c": 3})
    assert table.get_many({"a", "c", "missing"}) == {"a": 1, "c": 3}


def test_ranges(table: StoreMapping) -> None:
    table.update({"d": 4, "b": 2, "a": 1, "c": {"n": 3}})
    assert table.key_range("b", "c") == ["b", "c"]
    assert table.dict_range("b", "c") == {"b": 2, "c": {"n": 3}}
    assert table.get_range("b", "d") == [("b", 2), ("c", {"n": 3}), ("d", 4)]
    assert table.get_range("x", "z") == []


def test_insert_or_ignore(table: StoreMapping) -> None:
    table["a"] = 1
    table.insert_or_ignore({"a": 100, "b": 2})
    assert table.to_dict() == {"a": 1, "b": 2}


def test_update_and_to_dict(table: StoreMapping) -> None:
    table.update({"a": 1, "b": 2})
    table.update({"b": 3})
    assert table.to_dict() == dict(table) == {"a": 1, "b": 3}


def test_keys_items_len_and_in(table: StoreMapping) -> None:
    table.update({"a": 1, "b": 2})
    assert sorted(table.keys()) == sorted(table) == ["a", "b"]
    assert sorted(table.items()) == [("a", 1), ("b", 2)]
    assert len(table) == 2
    assert "a" in table
    assert "missing" not in table


def test_remove(table: StoreMapping) -> None:
    table.update({"a": 1, "b": 2})
    table.remove("a")
    del table["b"]
    for key in ("a", "b"):
        with pytest.raises(KeyError):
            table.remove(key)
        table.remove(key, ignore_missing_key=True)
    assert len(table) == 0


def test_clear_leaves_other_tables(table: StoreMapping, store: SyncStore) -> None:
    other = kvwrap.mapping(store, "other")
    table["a"] = other["a"] = 1
    table.clear()
    assert table.to_dict() == {}
    assert other.to_dict() == {"a": 1}


def test_atomic_add(table: StoreMapping) -> None:
    table.atomic_add("n", 1)
    table.atomic_add("n", 41)
    assert table["n"] == 42


def test_atomic_add_from_several_threads(table: StoreMapping) -> None:
    def add() -> None:
        for _ in range(20):
            table.atomic_add("n", 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table["n"] == 80


@pytest.mark.parametrize("key", [None, 5, b"a"])
def test_keys_that_are_no_strings(table: StoreMapping, key: Any) -> None:
    with pytest.raises(KeyError):
        table[key]
    with pytest.raises((KeyError, TypeError)):
        table[key] = 1
    assert key not in table


# Many processes, a timeout in the constructor, and safety against power failures are what the
# file does.

PROGRAM = """
import sys
import kvwrap
with kvwrap.mapping(kvwrap.SQLiteStore(sys.argv[1], timeout=60), "table") as table:
    for number in range(50):
        table.atomic_add("n", 1)
        table.insert_or_ignore({f"key-{number}": sys.argv[2]})
"""


def test_many_processes(tmp_path: Path) -> None:
    file = str(tmp_path / "store.db")
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, file, str(number)]) for number in range(3)
    ]
    assert [program.wait(100) for program in programs] == [0, 0, 0]
    with kvwrap.mapping(SQLiteStore(file, synchronous="full"), "table") as table:
        assert table.pop("n") == 150
        assert len(table) == 50
