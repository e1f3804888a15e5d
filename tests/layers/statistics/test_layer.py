"""Counts of the Statistics layer, and how they are read."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import ConfigurationError, MemoryStore, Passthrough, Statistics, stack
from kvwrap.layers.statistics.counts import OTHER
from kvwrap.layers.statistics.histogram import ERROR


class Slow(Passthrough):
    """Takes 10 ms per read, and fails on the key `bad`."""

    delay = 0.010

    async def read(self, collection, keys):
        self.clock.advance(self.delay)
        if "bad" in keys:
            raise ConnectionError("no")
        return await self.inner.read(collection, keys)


@pytest.fixture
def store(clock):
    return stack().statistics(name="sessions").over(MemoryStore(clock=clock))


async def test_reads_are_counted_as_calls_keys_hits_and_misses(store):
    await store.put("a", 1)
    await store.get("a")
    await store.get("b")
    await store.get_many(["a", "b", "c"])
    reads = store.find(Statistics).snapshot().reads
    assert (reads.calls, reads.keys, reads.hits, reads.misses) == (3, 5, 2, 3)
    assert reads.hit_rate == 0.4


async def test_writes_and_removes_count_what_they_changed(store):
    await store.put_many(["a", "b"], [1, 2])
    assert not await store.put_if_absent("a", 3)
    assert await store.delete_many(["a", "x"]) == 1
    assert await store.expire("b", 10)
    snapshot = store.find(Statistics).snapshot()
    assert (snapshot.writes.calls, snapshot.writes.keys, snapshot.writes.changed) == (2, 3, 2)
    assert (snapshot.removes.keys, snapshot.removes.changed) == (2, 1)
    assert snapshot.of("touch").changed == 1
    assert snapshot.writes.hits == snapshot.writes.misses == 0


async def test_bytes_are_those_of_the_entries_that_pass(store):
    await store.put("a", "x" * 98)
    await store.put_many(["b", "c"], ["", "1"])
    await store.get_many(["a", "nothing"])
    assert store.find(Statistics).snapshot().total.bytes_read == 100
    assert not await store.put_if_absent("a", "y" * 500)
    assert store.find(Statistics).snapshot().total.bytes_written == 100 + 2 + 3


async def test_a_stale_value_is_a_miss(store, clock):
    await store.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    await store.get("a")
    clock.advance(10)
    before = store.find(Statistics).snapshot().reads
    await store.get("a")
    reads = store.find(Statistics).snapshot().reads
    assert (before.hits, before.misses) == (1, 1)
    assert (reads.hits, reads.misses) == (1, 2)
    assert reads.bytes_read == before.bytes_read + 1


async def test_every_operation_is_counted_once(store):
    await store.put("a", 1, collection="c")
    await store.keys("c")
    await store.collections()
    await store.cull()
    await store.check()
    await store.put_many(["b", "x"], [1, 1], collection="c")
    assert await store.count(collection="c") == 3
    assert await store.delete_where(collection="c", prefix="b") == 1
    await store.destroy_collection("c")
    await store.destroy()
    snapshot = store.find(Statistics).snapshot()
    counted = {row.operation: row.counts.calls for row in snapshot.rows}
    once = ("list_keys", "list_collections", "sweep", "ping", "drop", "drop_all")
    assert counted == {**dict.fromkeys(once, 1), "write": 2, "count_range": 1, "drop_range": 1}
    counts = snapshot.of("count_range")
    assert (counts.keys, counts.changed) == (3, 0)
    counts = snapshot.of("drop_range")
    assert (counts.keys, counts.changed) == (1, 1)
    assert snapshot.of("list_keys").keys == 1
    assert snapshot.collections == ("c", None)


async def test_collections_are_counted_separately(store):
    await store.put("a", 1, collection="users")
    await store.get("a", collection="users")
    await store.get("a")
    snapshot = store.find(Statistics).snapshot()
    assert snapshot.of_collection("users").calls == 2
    assert snapshot.of_collection("users", "read").hits == 1
    assert snapshot.of_collection(None).misses == 1


async def test_invented_collections_cost_no_memory(clock):
    store = stack().statistics(max_collections=3).over(MemoryStore(clock=clock))
    for number in range(50):
        await store.get("a", collection=f"c{number}")
        await store.put("a", 1, collection=f"c{number}")
    snapshot = store.find(Statistics).snapshot()
    assert snapshot.collections == ("c0", "c1", "c2", OTHER)
    assert snapshot.of_collection(OTHER, "read").calls == 47
    assert snapshot.total.calls == 100


async def test_errors_are_counted_by_type_and_pass_through(clock):
    store = stack().statistics().layer(Slow()).over(MemoryStore(clock=clock))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await store.get("bad")
    await store.get("good")
    reads = store.find(Statistics).snapshot().reads
    assert reads.errors == {"ConnectionError": 2}
    assert (reads.calls, reads.failed, reads.keys) == (3, 2, 1)
    assert reads.latency.seconds == pytest.approx(0.030)


async def test_a_cancelled_call_is_counted_as_failed():
    class Stuck(Passthrough):
        async def write(self, collection, keys, entries, expected=None):
            await asyncio.Event().wait()

    store = stack().statistics().layer(Stuck()).over(MemoryStore())
    task = asyncio.create_task(store.put("a", 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.find(Statistics).snapshot().writes.errors == {"CancelledError": 1}


async def test_latency_is_measured_with_the_clock_of_the_store(clock):
    store = stack().statistics().layer(Slow()).over(MemoryStore(clock=clock))
    for _ in range(10):
        await store.get("a")
    latency = store.find(Statistics).snapshot().reads.latency
    assert latency.calls == 10
    assert latency.mean == pytest.approx(0.010)
    assert latency.p99 == pytest.approx(0.010, rel=ERROR + 1e-6)


async def test_a_snapshot_does_not_change(store):
    await store.get("a")
    before = store.find(Statistics).snapshot()
    await store.get("a")
    assert before.reads.calls == 1
    with pytest.raises(TypeError):
        before.reads.errors["x"] = 1
    with pytest.raises(AttributeError):
        before.reads.calls = 9


async def test_reset_sets_all_counts_to_zero(store, clock):
    await store.get("a", collection="c")
    clock.advance(5)
    assert store.find(Statistics).snapshot().seconds == 5
    store.find(Statistics).reset()
    snapshot = store.find(Statistics).snapshot()
    assert (snapshot.rows, snapshot.seconds) == ((), 0)
    await store.get("a", collection="c")
    assert store.find(Statistics).snapshot().total.calls == 1


def test_two_stores_of_one_stack_count_separately():
    layers = stack().statistics()
    one, two = layers.over(MemoryStore()), layers.over(MemoryStore())
    asyncio.run(one.get("a"))
    assert one.find(Statistics).snapshot().total.calls == 1
    assert two.find(Statistics).snapshot().total.calls == 0


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": 3}, {"max_collections": 0}])
def test_invalid_arguments_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        Statistics(**wrong)


class Either(Passthrough):
    """Takes 1 ms for the key `quick` and 100 ms for others."""

    async def read(self, collection, keys):
        self.clock.advance(0.001 if keys[0] == "quick" else 0.1)
        return await self.inner.read(collection, keys)


async def test_every_latency_is_counted_in_its_bucket_however_many_there_are(clock) -> None:
    store = stack(Either()).over(MemoryStore(clock=clock))
    store = stack().statistics().over(store)
    layer = store.find(Statistics)
    for number in range(1, 1500):
        await store.get("quick" if number % 3 else "slow")
        if number % 100 == 0:
            assert layer.snapshot().reads.calls == number
    reads = layer.snapshot().reads
    assert (reads.calls, reads.keys, reads.misses) == (1499, 1499, 1499)
    assert reads.latency.seconds == pytest.approx(1000 * 0.001 + 499 * 0.1)
    assert sorted(count for _, count in reads.latency.buckets) == [499, 1000]
    assert reads.latency.at_most(0.01) == 1000
    assert reads.latency.percentile(0.9) == pytest.approx(0.1, rel=ERROR)
