"""Copies and pickles: descriptions can be copied, stores cannot."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import CorruptEntry, MemoryStore, Retry, SQLiteStore, Store, stack

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda obj: pickle.loads(pickle.dumps(obj)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_copy_of_a_stack_has_the_same_description(way: str) -> None:
    layers = stack().retry(5).compress("gzip").prefix_key("p-").silence("retry-twice")
    copied = WAYS[way](layers)
    assert copied == layers
    assert copied.silenced == layers.silenced
    store = copied.over(MemoryStore())
    await store.put("key", 1)
    assert await store.get("key") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_copy_of_a_running_layer_is_its_description(way: str) -> None:
    store = stack().retry(5).over(MemoryStore())
    copied = WAYS[way](store.find(Retry))
    assert copied == Retry(5)
    assert not hasattr(copied, "inner")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "store",
    [MemoryStore(), SQLiteStore(":memory:"), stack().timeout().over(MemoryStore())],
    ids=["memory", "sqlite", "layered"],
)
def test_a_store_is_not_copied(store: Store, way: str) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        WAYS[way](store)


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the limit of Python's frames is not that of readers in C"
)
async def test_a_value_nested_too_deeply_for_the_reader_is_not_reported_as_damaged() -> None:
    store, value = MemoryStore(), 1
    for _ in range(500):
        value = [value]  # type: ignore[assignment]  # ever deeper
    await store.put("key", value)

    async def deeper(levels: int) -> Any:
        return await (deeper(levels - 1) if levels else store.get("key"))

    with pytest.raises(CorruptEntry, match="recursion limit"):
        await deeper(700)
    assert await store.get("key") == value
