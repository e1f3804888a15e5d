"""`Store.creates`: what only reads creates nothing on any backend, and tells what is not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvwrap import Capability, Store
from kvwrap.core.missing import NotThereYet
from tests.catalog import STORES, Resources
from tests.stores.adapted.objects import OBJECTS

CREATING = frozenset(
    {
        *("sqlite", "lmdb", "file-tree"),
        *("postgresql", "dynamodb", "opensearch", "mongodb", "nats"),
    }
)
"""Stores that create what they keep their entries in."""
OTHERS = [name for name in STORES if name not in CREATING and name not in OBJECTS]


async def watch(store: Store) -> None:
    async with store.watch():
        pass


async def list_items(store: Store) -> list[Any]:
    return [item async for item in store.items()]


CALLS: dict[str, tuple[Capability | None, Callable[[Store], Awaitable[Any]]]] = {
    "get": (None, lambda store: store.get("k")),
    "get_many": (None, lambda store: store.get_many(["k", "l"])),
    "ttl": (None, lambda store: store.ttl("k", collection="c")),
    "exists": (None, lambda store: store.exists("k")),
    "keys": (Capability.KEYS, lambda store: store.keys()),
    "items": (Capability.KEYS, list_items),
    "count": (Capability.KEYS, lambda store: store.count()),
    "collections": (Capability.COLLECTIONS, lambda store: store.collections()),
    "expire": (None, lambda store: store.expire("k", 5)),
    "delete": (None, lambda store: store.delete("k")),
    "delete_many": (None, lambda store: store.delete_many(["k", "l"])),
    "destroy": (Capability.DESTROY, lambda store: store.destroy()),
    "cull": (Capability.CULL, lambda store: store.cull()),
    "check": (None, lambda store: store.check()),
    "watch": (Capability.WATCH, watch),
}
"""What the commands call that write no new entry, with the capability that each needs."""

EMPTY: list[Any] = [None, False, 0, [], (None, None), [None, None]]


def reading(store_name: str, resources: Resources) -> Store:
    store = STORES[store_name](resources)
    store.creates = False
    return store


@pytest.mark.parametrize("store_name", sorted(CREATING))
async def test_nothing_is_created_until_somebody_writes(
    store_name: str, resources: Resources
) -> None:
    for needed, call in CALLS.values():
        store = reading(store_name, resources)
        if needed is None or needed in store.capabilities:
            # If the call before this one had created it, this one would find it.
            with pytest.raises(NotThereYet, match="must exist to be read") as caught:
                async with store:
                    await call(store)
            places = (resources.name, str(resources.folder))
            assert any(place in str(caught.value) for place in places)
    async with STORES[store_name](resources) as writer:
        await writer.put("k", 1)
    async with reading(store_name, resources) as store:
        assert await store.get("k") == 1
        assert await store.delete("k")


@pytest.mark.parametrize("store_name", OTHERS)
async def test_stores_that_create_nothing_are_empty(store_name: str, resources: Resources) -> None:
    async with reading(store_name, resources) as store:
        for name, (needed, call) in CALLS.items():
            # A store without listings cannot tell what it destroyed.
            if name != "destroy" and (needed is None or needed in store.capabilities):
                assert await call(store) in EMPTY
