"""MemoryStore and NullStore: limits, the memory of expired entries, URLs."""

from __future__ import annotations

import sys
import uuid

import pytest

from kvwrap import ConfigurationError, MemoryStore, NullStore, ValueTooLarge
from kvwrap.testing import ManualClock


async def test_the_least_recently_used_entries_are_evicted_first() -> None:
    store = MemoryStore(max_entries=3)
    await store.put_many(["a", "b", "c"], [1, 2, 3])
    assert await store.get("a") == 1
    await store.put("d", 4)
    assert await store.keys() == ["a", "c", "d"]
    await store.put("c", 5)
    await store.put("e", 6, collection="x")
    assert await store.keys() == ["c", "d"]
    assert await store.keys("x") == ["e"]
    assert len(store) == 3


async def test_expired_entries_are_evicted_before_live_ones(clock: ManualClock) -> None:
    store = MemoryStore(max_entries=2, clock=clock)
    await store.put("old", 1)
    await store.put("brief", 2, ttl=5)
    clock.advance(5)
    await store.put("new", 3)
    assert await store.keys() == ["new", "old"]


async def test_max_bytes_holds_through_every_kind_of_change(clock: ManualClock) -> None:
    store = MemoryStore(max_bytes=100, clock=clock)
    for i in range(50):
        await store.put(f"k{i % 7}", "x" * (i % 40), ttl=1 + i % 3)
        if i % 5 == 0:
            await store.delete(f"k{i % 3}")
        clock.advance(0.5)
        entries = [e for e in await store.read(None, [f"k{n}" for n in range(7)]) if e]
        assert sum(len(e.body) + len(e.codec) for e in entries) <= store.size <= 100
    clock.advance(10)
    await store.cull()
    assert (len(store), store.size) == (0, 0)


async def test_the_size_is_that_of_what_is_held(clock: ManualClock) -> None:
    store = MemoryStore(max_bytes=1000, clock=clock)

    async def held() -> int:
        entries = [e for e in await store.read(None, ["a", "b"]) if e is not None]
        return sum(len(entry.body) + len(entry.codec) for entry in entries)

    for length in range(20):
        # Each replaces a live entry, of another size and with another end.
        await store.put_many(["a", "b"], ["x" * length, "y" * (40 - length)], ttl=5 + length)
        assert store.size == await held() > 0
    await store.delete("a")
    assert store.size == await held() > 0
    await store.put("c", 1, collection="other", ttl=5)
    assert store.size > await held()
    assert await store.destroy_collection("other")
    assert store.size == await held()
    clock.advance(100)
    await store.cull()
    assert (store.size, await held()) == (0, 0)
    await store.put("a", "x")
    assert await store.destroy()
    assert (len(store), store.size) == (0, 0)
    await store.put_many(["a", "b"], ["x" * 400] * 2)
    assert await store.get_many(["a", "b"]) == ["x" * 400] * 2


async def test_only_as_many_are_evicted_as_the_limits_need() -> None:
    store = MemoryStore(max_bytes=100)
    for _ in range(20):
        await store.put("k", "x" * 20)
    await store.put("other", "y" * 20)
    assert await store.keys() == ["k", "other"]
    await store.put("large", "z" * 60)
    assert await store.keys() == ["large", "other"]


async def test_an_entry_over_max_bytes_is_refused_with_its_whole_batch() -> None:
    store = MemoryStore(max_bytes=50)
    with pytest.raises(ValueTooLarge) as caught:
        await store.put_many(["a", "b"], ["x", "y" * 50], collection="c")
    assert (caught.value.key, caught.value.collection) == ("b", "c")
    assert len(store) == 0


async def test_overwritten_entries_do_not_stay_in_memory(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    key = uuid.uuid4().hex  # no other object refers to it
    await store.put(key, 1)
    references = sys.getrefcount(key)
    for _ in range(1000):
        clock.advance(0.001)  # so that every one ends at another time
        await store.put(key, 1, ttl=100)
    assert sys.getrefcount(key) < references + 200
    for _ in range(1000):
        clock.advance(0.001)
        await store.put(key, 1, ttl=100)
        await store.delete(key)
    await store.put(key, 1)
    assert sys.getrefcount(key) < references + 200
    clock.advance(100)
    await store.cull()
    assert await store.get(key) == 1
    assert sys.getrefcount(key) == references


async def test_one_entry_may_be_in_several_collections(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    await store.put("a", 1, ttl=5)
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    for collection in ("c", None, "d"):
        await store.write(collection, ["a"], [entry])
    clock.advance(5)
    await store.put("b", 1)
    assert len(store) == 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5"])
@pytest.mark.parametrize("name", ["max_entries", "max_bytes"])
def test_invalid_limits_are_refused(name: str, limit: object) -> None:
    with pytest.raises(ConfigurationError):
        MemoryStore(**{name: limit})  # type: ignore[arg-type]  # wrong on purpose


def test_urls() -> None:
    assert MemoryStore.from_url("memory://").arguments == {}
    assert MemoryStore.from_url("memory://?max_entries=5&max_bytes=7").arguments == {
        "max_entries": 5,
        "max_bytes": 7,
    }
    assert NullStore.from_url("null://").arguments == {}
    for url in (
        "memory://host",
        "memory:///path",
        "memory://?max_entries=many",
        "memory://?max_entries=0",
        "memory://?max_entry=5",
        "null://",
    ):
        with pytest.raises(ConfigurationError):
            MemoryStore.from_url(url)
    for url in ("null://host", "null://?x=1", "memory://"):
        with pytest.raises(ConfigurationError):
            NullStore.from_url(url)


async def test_a_null_store_is_always_empty() -> None:
    store = NullStore()
    await store.put("a", 1)
    assert await store.get("a") is None
    assert await store.put_if_absent("a", 1) is True
    assert await store.compare_and_put("a", 1, 5) is False
    assert await store.increment("a", initial=5) == 6
    assert await store.delete("a") is False
    assert await store.keys() == []
    assert await store.destroy() is False


def test_an_empty_store_is_true() -> None:
    store = MemoryStore()
    assert len(store) == 0
    assert store
