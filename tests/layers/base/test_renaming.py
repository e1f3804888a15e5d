"""Renaming: neighbours map a call in one step, where that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from kvwrap import MemoryStore, PrefixKey, StoreUnavailable, stack
from kvwrap.core.primitives import Collection
from kvwrap.layers.base import Renaming

RENAMED = (
    stack()
    .prefix_collection("app-")
    .single_collection("all")
    .prefix_key("v1-")
    .prefix_collection("of-")
)


async def test_neighbours_name_entries_as_each_of_them_does() -> None:
    backend = MemoryStore()
    store = RENAMED.over(backend)
    for collection in (None, "c", "c", "d"):
        await store.put("a", collection, collection=collection)
    await store.put_many(["b", "e"], [1, 2], collection="c")
    assert await backend.keys("of-all") == [
        "v1-app-__a", "v1-app-c__a", "v1-app-c__b", "v1-app-c__e", "v1-app-d__a",
    ]  # fmt: skip
    assert await store.get("a", collection="c") == "c"
    assert await store.get_many(["e", "b"], collection="c") == [2, 1]
    assert await store.expire("b", 60, collection="c")
    assert await store.delete("a")
    assert await store.delete_many(["a", "none"], collection="d") == 1
    assert await store.collections() == ["c"]
    assert await store.keys("c") == ["a", "b", "e"]


class Failing(MemoryStore):
    """A store that writes the first key of a batch, and then fails."""

    async def write(self, collection: Any, keys: Any, entries: Any, expected: Any = None) -> Any:
        raise StoreUnavailable("down", succeeded=(keys[0],))


async def test_an_error_lists_the_callers_keys() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await RENAMED.over(Failing()).put_many(["a", "b"], [1, 2], collection="c")
    assert caught.value.succeeded == ("a",)


tenant: ContextVar[str] = ContextVar("tenant")


class Tenants(Renaming):
    """Gives every tenant collections of its own."""

    traits = Renaming.traits | {"contextual"}

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return f"{tenant.get()}/{collection or ''}", ""


@pytest.mark.parametrize("inside", [True, False])
async def test_what_depends_on_more_than_the_name_is_asked_each_time(inside: bool) -> None:
    tenants = stack().layer(Tenants())
    prefix = stack().prefix_collection("p-")
    store = (prefix + tenants if inside else tenants + prefix).over(MemoryStore())
    for name in ("one", "other", "one"):
        tenant.set(name)
        assert await store.get("a") in (None, name)
        await store.put("a", name)


class Counting(PrefixKey):
    """A prefix that counts the keys that are read through it."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.read_keys = 0

    async def read(self, collection: Collection, keys: Sequence[str]) -> Any:  # type: ignore[override]
        self.read_keys += len(keys)
        return await super().read(collection, keys)


async def test_a_neighbour_that_does_more_than_renaming_is_not_passed_over() -> None:
    store = stack().prefix_key("a-").layer(Counting("b-")).prefix_key("c-").over(MemoryStore())
    await store.put("x", 1)
    assert await store.get("x") == 1
    assert store.find(Counting).read_keys == 1


async def test_any_number_of_collections_keep_their_places() -> None:
    layer = stack().single_collection("all").prefix_key("v1-")
    store, names = layer.over(MemoryStore()), [f"c{number}" for number in range(3000)]
    for name in names:
        await store.put("key", name, collection=name)
    assert [await store.get("key", collection=name) for name in names] == names
    assert sorted(await store.collections()) == sorted(names)
