"""Collections with a prefix."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    Passthrough,
    PrefixCollection,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.primitives import Collection, KeyRange
from tests.layers.faulty import FaultyStore
from tests.layers.without_capabilities import WithoutCapabilities


async def test_collections_have_the_prefix_inside_and_not_outside() -> None:
    base = MemoryStore()
    store = PrefixCollection("app-").over(base)
    await store.put("k", 1, collection="users")
    await store.put("k", 2)
    assert await base.collections() == ["app-", "app-users"]
    assert await store.collections() == ["users"]
    assert await store.get("k", collection="users") == 1
    assert await store.get("k") == 2
    assert await base.get("k") is None


async def test_ranges_of_keys_without_a_prefix_reach_the_store_unchanged(
    backend: FaultyStore,
) -> None:
    ranges: list[KeyRange] = []

    class Ranges(Passthrough):
        async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
            ranges.append(key_range)
            return await self.inner.count_range(collection, key_range)

    store = PrefixCollection("app-").over(Ranges().over(backend))
    await store.count()
    assert ranges == [KeyRange("", None, None)]


async def test_destroy_drops_the_collections_with_the_prefix_and_nothing_else() -> None:
    base = MemoryStore()
    store, other = PrefixCollection("app-").over(base), PrefixCollection("apt-").over(base)
    await store.put("k", 1, collection="users")
    await store.put("k", 1)
    await other.put("k", 2, collection="users")
    await base.put("k", 3)
    assert await store.destroy_collection("users")
    assert await store.keys() == ["k"]
    assert await store.destroy()
    assert not await store.destroy()
    assert await base.collections() == ["apt-users"]
    assert await base.get("k") == 3


async def test_keys_are_removed_one_by_one_if_collections_cannot_be_dropped_whole() -> None:
    base = MemoryStore()
    without = WithoutCapabilities(Capability.DESTROY_COLLECTION, Capability.DESTROY)
    store = stack().prefix_collection("app-").layer(without).over(base)
    await store.put_many([f"{n}" for n in range(1_200)], range(1_200), collection="users")
    assert {Capability.DESTROY, Capability.DESTROY_COLLECTION} <= store.capabilities
    assert await store.destroy()
    assert await base.collections() == []


async def test_collections_that_cannot_be_enumerated_cannot_be_destroyed() -> None:
    without = WithoutCapabilities(Capability.COLLECTIONS, Capability.KEYS)
    store = stack().prefix_collection("app-").layer(without).over(MemoryStore())
    assert Capability.DESTROY not in store.capabilities
    assert Capability.DESTROY_COLLECTION in store.capabilities
    await store.put("k", 1, collection="users")
    with pytest.raises(UnsupportedOperation):
        await store.destroy()
    assert await store.destroy_collection("users")


@pytest.mark.parametrize("prefix", ["", None, 5, b"a", "\ud800"])
def test_an_invalid_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        PrefixCollection(prefix)
