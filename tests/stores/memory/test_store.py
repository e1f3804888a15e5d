"""MemoryStore and NullStore: limits, the memory of expired entries, URLs."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid

import pytest

from kvwrap import ConfigurationError, MemoryStore, NullStore, ValueTooLarge
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT
from kvwrap.core.turns import SLICE
from kvwrap.testing import ManualClock
from tests.turns import turns_during


async def test_entries_that_were_used_stay_when_others_are_evicted() -> None:
    store = MemoryStore(max_entries=10)
    names = [f"k{number}" for number in range(10)]
    await store.put_many(names, names)
    assert await store.get_many(["k1", "k4"]) == ["k1", "k4"]
    for number in range(100):
        await store.put(f"new{number}", 1, collection="x")
        assert len(store) == 10
    assert await store.keys() == ["k1", "k4"]
    assert await store.get("new99", collection="x") == 1


async def test_an_overwritten_entry_was_used() -> None:
    store = MemoryStore(max_entries=4)
    await store.put_many(["a", "b", "c", "d"], [1, 2, 3, 4])
    await store.put("b", 5)
    for number in range(20):
        await store.put(f"new{number}", number)
    assert await store.get("b") == 5


async def test_an_entry_that_was_used_stays_so_when_it_expires_earlier(clock: ManualClock) -> None:
    store = MemoryStore(max_entries=10, clock=clock)
    await store.put("used", 1, ttl=100)
    for _ in range(2):
        assert await store.get("used") == 1
    assert await store.expire("used", 50)
    for number in range(50):
        await store.put(f"new{number}", number)
    assert await store.get("used") == 1


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
        await store.put_many(["a", "b"], ["x" * length, "y" * (57 - 2 * length)], ttl=5 + length)
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
    assert await store.keys() in (["k", "large"], ["large", "other"])


async def test_an_entry_that_grows_stays_and_others_make_room() -> None:
    store = MemoryStore(max_bytes=100)
    await store.put_many(["a", "b", "c"], ["x" * 20] * 3)
    for length in (60, 90, 20, 90):
        await store.put("a", "y" * length)
        assert await store.get("a") == "y" * length
    assert await store.keys() == ["a"]


async def test_where_entries_are_counted_their_sizes_do_not_matter() -> None:
    async def kept(size: int) -> list[str]:
        rng, store = random.Random(1), MemoryStore(max_entries=20)
        for _ in range(500):
            name = f"k{min(rng.randrange(40), rng.randrange(40))}"
            await store.put(name, "x" * rng.choice((1, size)))
        return await store.keys()

    assert await kept(1) == await kept(1000)


async def test_both_limits_hold_together() -> None:
    store = MemoryStore(max_entries=5, max_bytes=100)
    for number in range(30):
        await store.put(f"k{number}", "x" * (number % 9 * 10))
        assert len(store) <= 5
        assert 0 < store.size <= 100
    await store.put_many([f"s{number}" for number in range(20)], [1] * 20)
    assert len(store) == 5


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
    await store.cull()
    await store.put("b", 1)
    assert len(store) == 1


async def test_writes_remove_expired_entries_a_few_at_a_time(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    names = [f"k{number}" for number in range(100)]
    await store.put_many(names, names, ttl=5)
    clock.advance(5)
    await store.put("first", 1)
    assert 90 < len(store) < 101
    for number in range(100):
        await store.put(f"new{number}", 1, ttl=5)
    assert len(store) == 101
    clock.advance(5)
    for _ in range(100):
        await store.put("first", 1)
    assert len(store) == 1


async def test_an_expiry_may_be_moved_in_both_directions(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    await store.put_many(["sooner", "later", "never", "again"], [1, 2, 3, 4], ttl=10)
    await store.expire("sooner", 5)
    await store.expire("later", 20)
    await store.expire("never", None)
    await store.expire("again", None)
    await store.expire("again", 30)
    left = {5: 3, 10: 3, 20: 2, 30: 1}
    for now in range(1, 31):
        clock.advance(1)
        await store.cull()
        if now in left:
            assert len(store) == left[now], now
    assert await store.keys() == ["never"]


async def test_large_batches_and_whole_collections_give_other_tasks_turns(
    clock: ManualClock,
) -> None:
    count = 4 * SLICE
    names = [f"k{number:05}" for number in range(count)]
    entry = Entry(b"1", b"j", clock.time(), clock.time() + 5, 1)
    store = MemoryStore(clock=clock, max_bytes=10 * count)
    assert await turns_during(store.write("c", names, [entry] * count)) >= 3
    assert await turns_during(store.read("c", names)) >= 3
    assert await turns_during(store.keys("c")) >= 6, "they are sorted, and then merged"
    assert await turns_during(store.count(collection="c")) >= 3
    assert await store.keys("c") == names
    assert await turns_during(store.remove("c", names)) >= 3
    endings = (
        store.destroy,
        lambda: store.destroy_collection("c"),
        lambda: store.delete_where(collection="c"),
        store.cull,
    )
    for ending in endings:
        await store.write("c", names, [entry] * count)
        assert len(store) == count
        if ending == store.cull:
            clock.advance(5)
        assert await turns_during(ending()) >= 3
        assert (len(store), store.size) == (0, 0)


async def test_what_is_being_destroyed_is_gone_at_once_and_what_is_put_meanwhile_stays() -> None:
    names = [f"k{number}" for number in range(4 * SLICE)]
    for store in (MemoryStore(), MemoryStore(max_entries=len(names)), MemoryStore(max_bytes=9**6)):
        for destroy in (store.destroy, lambda: store.destroy_collection("c")):  # noqa: B023
            await store.put_many(names, names, collection="c")
            destroying = asyncio.ensure_future(destroy())
            await asyncio.sleep(0)
            assert await store.get("k1", collection="c") is None
            assert await store.keys("c") == []
            assert len(store) == 0
            await store.put("k1", "new", collection="c")
            assert await destroying is True
            assert await store.keys("c") == ["k1"]
            assert len(store) == 1


async def test_a_cancelled_destroy_is_finished_by_later_writes() -> None:
    store = MemoryStore(max_bytes=9**6)
    names = [f"k{number}" for number in range(4 * SLICE)]
    await store.put_many(names, names)
    destroying = asyncio.ensure_future(store.destroy())
    await asyncio.sleep(0)
    destroying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await destroying
    assert await store.keys() == []
    for _ in names:
        await store.put("a", 1)
    assert store.size == len(b"1") + 1
    assert await store.destroy()
    assert not await store.destroy()


async def test_what_was_dropped_is_freed_before_anything_is_evicted() -> None:
    names = [f"k{number}" for number in range(2 * SLICE)]
    store = MemoryStore(max_bytes=200_000)
    await store.put_many(names, ["x" * 300] * len(names), collection="dropped")
    await store.put("kept", 1)
    destroying = asyncio.ensure_future(store.destroy_collection("dropped"))
    await asyncio.sleep(0)
    await store.put("large", "x" * 199_000)
    assert await store.get_many(["kept", "large"]) == [1, "x" * 199_000]
    await destroying


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


async def test_single_entries_are_read_and_written_without_waiting(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, max_bytes=10)
    entry = Entry(b"body", b"", clock.time(), clock.time() + 5, 1)
    store.write_one("c", "a", entry)
    assert store.look_up("c", "a") is entry
    assert await store.read("c", ["a"]) == [entry]
    with pytest.raises(ValueTooLarge, match="max_bytes=10"):
        store.write_one("c", "a", entry.with_body(bytes(11), b""))
    clock.advance(5)
    assert store.look_up("c", "a") is None
    unlimited = MemoryStore(clock=clock)
    unlimited.write_one("c", "a", entry.with_expiry(None))
    assert unlimited.look_up("c", "a") == entry.with_expiry(None)
    for _ in range(2):
        unlimited.remove_one("c", "a")
        assert unlimited.look_up("c", "a") is None


@pytest.mark.parametrize("primitive", ["read", "write", "remove"])
def test_a_subclass_whose_calls_may_wait_has_no_calls_that_do_not(primitive: str) -> None:
    slow = type("Slow", (MemoryStore,), {primitive: getattr(MemoryStore, primitive)})()
    assert (slow.look_up, slow.write_one, slow.remove_one) == (None, None, None)
    chosen = {primitive: getattr(MemoryStore, primitive), "write_one": MemoryStore.write_one}
    quick = type("Quick", (MemoryStore,), chosen)()
    assert quick.look_up is None
    assert quick.write_one is not None


def test_an_empty_store_is_true() -> None:
    store = MemoryStore()
    assert len(store) == 0
    assert store


async def test_a_repeated_conditional_write_says_that_its_entry_is_stored() -> None:
    store = MemoryStore()
    entry, other = (Entry(b"1", b"j", 0.0, None, version) for version in (1, 2))
    assert await store.write(None, ["a"], [entry], [ABSENT]) == [True]
    assert await store.write(None, ["a"], [entry], [ABSENT]) == [True]
    assert await store.write(None, ["a"], [other], [ABSENT]) == [False]
    assert await store.write(None, ["a"], [other], [5]) == [False]
    assert await store.write(None, ["b"], [other], [5]) == [False]
    assert await store.read(None, ["a", "b"]) == [entry, None]
