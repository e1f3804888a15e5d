"""The operations of Steamship's `KeyValueStore`, through a prefix of collections.

A `store_identifier` is a namespace of a workspace, so it is a `prefix_collection` of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import kvwrap
from kvwrap import Store, SyncStore, stack


@pytest.fixture
def workspace(make_stack: Callable[[], Store]) -> Iterator[Callable[[str], SyncStore]]:
    """A function that returns the store of an identifier; all are of one workspace."""
    opened: list[SyncStore] = []

    def make(identifier: str) -> SyncStore:
        layers = stack().prefix_collection(f"{identifier}:")
        opened.append(kvwrap.sync(layers.over(make_stack())))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_get_set_and_delete(workspace: Callable[[str], SyncStore]) -> None:
    store = workspace("a")
    assert store.get("key") is None
    store.put("key", {"text": "value"})
    assert store.get("key") == {"text": "value"}
    store.put("key", {"n": 1})
    assert store.get("key") == {"n": 1}
    assert store.delete("key")
    assert not store.delete("key")
    assert store.get("key") is None


def test_items(workspace: Callable[[str], SyncStore]) -> None:
    store = workspace("a")
    values = {f"key-{number}": {"n": number} for number in range(5)}
    store.put_many(list(values), list(values.values()))
    assert sorted(store.items()) == sorted(values.items())
    filter_keys = ["key-1", "key-3", "missing"]
    mapping = kvwrap.mapping(store)
    assert mapping.get_many(filter_keys) == {"key-1": {"n": 1}, "key-3": {"n": 3}}


def test_reset_empties_one_identifier(workspace: Callable[[str], SyncStore]) -> None:
    one, other = workspace("a"), workspace("b")
    one.put("key", {"n": 1})
    other.put("key", {"n": 2})
    assert one.destroy()
    assert list(one.items()) == []
    assert other.get("key") == {"n": 2}
    assert other.destroy()


def test_stores_of_one_identifier_share_their_entries(
    workspace: Callable[[str], SyncStore],
) -> None:
    workspace("a").put("key", {"n": 1})
    assert workspace("a").get("key") == {"n": 1}
    assert workspace("a").destroy()
