"""A limit for each collection."""

from __future__ import annotations

import pytest

from kvwrap import ConfigurationError, MemoryStore, store_from_url
from kvwrap.testing import ManualClock, StoreContract


class TestContract(StoreContract):
    def make_store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(max_entries_per_collection=10_000, clock=clock)


async def test_no_collection_evicts_what_another_keeps() -> None:
    store = MemoryStore(max_entries_per_collection=3)
    await store.put("kept", 1, collection="small")
    for number in range(100):
        await store.put(f"k{number}", number, collection="large")
    assert await store.count(collection="large") == 3
    assert await store.get("k99", collection="large") == 99
    assert await store.get("kept", collection="small") == 1
    assert len(store) == 4


async def test_expired_entries_make_room_first(clock: ManualClock) -> None:
    store = MemoryStore(max_entries_per_collection=2, clock=clock)
    await store.put("short", 1, ttl=1)
    await store.put("a", 1)
    clock.advance(2)
    await store.put("b", 1)
    assert await store.keys() == ["a", "b"]


async def test_memory_is_freed_when_collections_end(clock: ManualClock) -> None:
    store = MemoryStore(max_entries_per_collection=2, clock=clock)
    for number in range(50):
        await store.put("a", number, collection=f"c{number}", ttl=5)
    assert len(store) == 50
    assert await store.destroy_collection("c0")
    assert len(store) == 49
    clock.advance(10)
    await store.cull()
    assert len(store) == 0
    assert await store.collections() == []
    await store.put("a", 1)
    assert await store.destroy()
    assert len(store) == 0


def test_it_is_the_only_limit() -> None:
    for other in ({"max_entries": 5}, {"max_bytes": 5}):
        with pytest.raises(ConfigurationError, match="only limit"):
            MemoryStore(max_entries_per_collection=5, **other)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_entries_per_collection"):
        MemoryStore(max_entries_per_collection=0)
    assert "per_collection=7" in repr(store_from_url("memory://?max_entries_per_collection=7"))
