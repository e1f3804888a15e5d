"""The operations of a store backend of Great Expectations, through `kvwrap.tuples`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import kvwrap
from kvwrap import (
    InvalidKey,
    InvalidValue,
    KeyNotFound,
    SQLiteStore,
    Store,
    SyncStore,
    UnsupportedOperation,
    stack,
)
from kvwrap.views.tuples import SyncTupleStore

SUITE = ("expectations", "taxi", "v1")


@pytest.fixture
def backend(store: SyncStore) -> SyncTupleStore:
    """A collection by tuples, as one of its store backends."""
    return kvwrap.tuples(store, "checkpoints")


def test_get_and_set(backend: SyncTupleStore) -> None:
    backend.put(SUITE, {"expectations": []})
    assert backend.get(SUITE) == {"expectations": []}
    with pytest.raises(KeyNotFound):
        backend.require(("missing",))


def test_add(backend: SyncTupleStore) -> None:
    assert backend.put_if_absent(SUITE, 1)
    assert not backend.put_if_absent(SUITE, 2)
    assert backend.get(SUITE) == 1


def test_has_key_and_remove_key(backend: SyncTupleStore) -> None:
    backend.put(SUITE, 1)
    assert backend.has_key(SUITE)
    assert backend.remove_key(SUITE)
    assert not backend.remove_key(SUITE)
    assert not backend.has_key(SUITE)


def test_list_keys(backend: SyncTupleStore) -> None:
    keys = [("a",), ("a", "b"), ("a", "b/c"), ("a/b",), ("b", "a"), ("", "ä")]
    for key in keys:
        backend.put(key, "value")
    assert backend.list_keys() == sorted(keys)
    assert backend.list_keys(prefix=("a",)) == [("a",), ("a", "b"), ("a", "b/c")]
    assert backend.list_keys(prefix=("a", "b")) == [("a", "b")]
    assert backend.list_keys(prefix=("x",)) == []


def test_move(backend: SyncTupleStore) -> None:
    backend.put(("old", "name"), 5)
    assert backend.move(("old", "name"), ("new", "name"))
    assert backend.list_keys() == [("new", "name")]
    assert not backend.move(("old", "name"), ("new", "name"))


def test_get_url_for_key(backend: SyncTupleStore) -> None:
    url = backend.url_for(("a b", "c/d"))
    assert url.endswith("#checkpoints/a%20b/c%2Fd")
    assert url != backend.url_for(("a b", "c", "d"))


def test_keys_of_a_fixed_length(store: SyncStore) -> None:
    backend = kvwrap.tuples(store, "checkpoints", length=2)
    backend.put(("a", "b"), 1)
    with pytest.raises(InvalidKey):
        backend.put(("a",), 1)


def test_ignored_keys(backend: SyncTupleStore, store: SyncStore) -> None:
    """What is not a tuple of this length is passed by."""
    backend.put(("a", "b"), 1)
    backend.put((".ipynb_checkpoints",), 1)
    store.put("plain", 1, collection="checkpoints")
    assert kvwrap.tuples(store, "checkpoints", length=2).list_keys() == [("a", "b")]


def test_validation_of_keys_and_values(make_store: Callable[[], Store]) -> None:
    layers = stack().validate(dict[str, int])
    with kvwrap.sync(layers.over(make_store())) as store:
        backend = kvwrap.tuples(store, "checkpoints")
        for key in ("text", ("a", 5), (), None):
            with pytest.raises(InvalidKey):
                backend.put(key, {"n": 1})  # type: ignore[arg-type]  # refused for that
        with pytest.raises(InvalidValue):
            backend.put(("a",), {"n": "text"})


def test_a_store_id_is_made_once_and_kept(
    backend: SyncTupleStore, make_stack: Callable[[], Store]
) -> None:
    made = backend.store_id()
    uuid.UUID(made)
    with kvwrap.sync(make_stack()) as again:
        assert kvwrap.tuples(again, "checkpoints").store_id() == made
    assert backend.list_keys() == []


def test_config_builds_the_same_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GE_KEYS", kvwrap.Keyring.generate().reveal_text())
    built = kvwrap.from_config(
        {
            "store": f"sqlite:///{tmp_path / 'store.db'}",
            "layers": ["compress", {"type": "encrypt", "keyring": {"env": "GE_KEYS"}}],
        }
    )
    with kvwrap.sync(built) as store:
        backend = kvwrap.tuples(store, "checkpoints")
        backend.put(SUITE, 1)
        config, made = backend.config, backend.store_id()
    with kvwrap.sync(kvwrap.from_config(config)) as store:
        again = kvwrap.tuples(store, "checkpoints")
        assert again.get(SUITE) == 1
        assert again.store_id() == made
        assert again.config == config


def test_a_backend_in_memory() -> None:
    with kvwrap.sync(kvwrap.MemoryStore()) as store:
        backend = kvwrap.tuples(store)
        backend.put(SUITE, 1)
        assert backend.list_keys() == [SUITE]


def test_a_store_that_cannot_list_says_so(tmp_path: Path) -> None:
    hidden = stack().hash_keys(b"0" * 32).over(SQLiteStore(tmp_path / "store.db"))
    with kvwrap.sync(hidden) as store:
        backend = kvwrap.tuples(store)
        backend.put(SUITE, 1)
        assert backend.get(SUITE) == 1
        with pytest.raises(UnsupportedOperation):
            backend.list_keys()
