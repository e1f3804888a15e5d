"""What Statistics counts, and how it is read."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import ConfigurationError, MemoryStore, Passthrough, Statistics, stack
from kvwrap.layers.statistics.counts import OTHER, Counts
from kvwrap.layers.statistics.histogram import ERROR, Latency, bound, bucket


class Slow(Passthrough):
    """Takes a time of the clock per call, and fails on the key `bad`."""

    delay = 0.010

    async def read(self, collection, keys):
        self.clock.advance(self.delay)
        if "bad" in keys:
            raise ConnectionError("no")
        return await self.inner.read(collection, keys)


@pytest.fixture
def store(clock):
    return stack().statistics(name="sessions").over(MemoryStore(clock=clock))


def latency(seconds):
    counts = {}
    for value in seconds:
        counts[bucket(value)] = counts.get(bucket(value), 0) + 1
    return Latency(sum(seconds), tuple(sorted(counts.items())))


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


async def test_bytes_are_those_of_the_entries_as_they_pass(store):
    await store.put("a", "x" * 98)
    await store.put_many(["b", "c"], ["", "1"])
    assert not await store.put_if_absent("a", "y" * 500)
    await store.get_many(["a", "nothing"])
    total = store.find(Statistics).snapshot().total
    assert total.bytes_written == 100 + 2 + 3
    assert total.bytes_read == 100


async def test_every_operation_is_counted_once(store):
    await store.put("a", 1, collection="c")
    await store.keys("c")
    await store.collections()
    await store.cull()
    await store.check()
    await store.destroy_collection("c")
    await store.destroy()
    snapshot = store.find(Statistics).snapshot()
    counted = {row.operation: row.counts.calls for row in snapshot.rows}
    assert counted == dict.fromkeys(
        ("write", "list_keys", "list_collections", "sweep", "ping", "drop", "drop_all"), 1
    )
    assert snapshot.of("list_keys").keys == 1
    assert snapshot.collections == ("c", None)


async def test_collections_are_kept_apart(store):
    await store.put("a", 1, collection="users")
    await store.get("a", collection="users")
    await store.get("a")
    snapshot = store.find(Statistics).snapshot()
    assert snapshot.of_collection("users").calls == 2
    assert snapshot.of_collection("users", "read").hits == 1
    assert snapshot.of_collection(None).misses == 1


async def test_made_up_collections_cost_no_memory(clock):
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


async def test_a_cancelled_call_is_counted_as_such():
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


async def test_latency_is_measured_with_the_store_s_clock(clock):
    store = stack().statistics().layer(Slow()).over(MemoryStore(clock=clock))
    for _ in range(10):
        await store.get("a")
    took = store.find(Statistics).snapshot().reads.latency
    assert took.calls == 10
    assert took.mean == pytest.approx(0.010)
    assert took.p99 == pytest.approx(0.010, rel=ERROR + 1e-6)


@given(
    st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_percentiles_are_within_the_stated_error(seconds, share):
    exact = sorted(seconds)[math.floor(share * (len(seconds) - 1))]
    assert latency(seconds).percentile(share) == pytest.approx(exact, rel=ERROR + 1e-3)


@given(st.floats(0, 1e6))
def test_a_latency_lies_in_its_bucket(seconds):
    number = bucket(seconds)
    assert bound(number - 1) <= seconds * (1 + 1e-9) + 1e-18
    assert seconds <= bound(number) * (1 + 1e-9)


@given(st.lists(st.lists(st.floats(0, 100), max_size=20), max_size=5))
def test_merging_loses_nothing(parts):
    together = Latency.merged(map(latency, parts))
    whole = latency([value for part in parts for value in part])
    assert together.buckets == whole.buckets
    assert together.seconds == pytest.approx(whole.seconds)


def test_no_calls_have_no_latency():
    assert (Latency().mean, Latency().p95, Latency().calls) == (0.0, 0.0, 0)
    assert Counts().hit_rate == 0.0
    with pytest.raises(ValueError, match="from 0 to 1"):
        Latency().percentile(95)


async def test_a_snapshot_does_not_change(store):
    await store.get("a")
    before = store.find(Statistics).snapshot()
    await store.get("a")
    assert before.reads.calls == 1
    with pytest.raises(TypeError):
        before.reads.errors["x"] = 1
    with pytest.raises(AttributeError):
        before.reads.calls = 9


async def test_reset_begins_anew(store, clock):
    await store.get("a", collection="c")
    clock.advance(5)
    assert store.find(Statistics).snapshot().seconds == 5
    store.find(Statistics).reset()
    snapshot = store.find(Statistics).snapshot()
    assert (snapshot.rows, snapshot.seconds) == ((), 0)
    await store.get("a", collection="c")
    assert store.find(Statistics).snapshot().total.calls == 1


def test_two_stores_of_one_stack_count_each_for_itself():
    recipe = stack().statistics()
    one, two = recipe.over(MemoryStore()), recipe.over(MemoryStore())
    asyncio.run(one.get("a"))
    assert one.find(Statistics).snapshot().total.calls == 1
    assert two.find(Statistics).snapshot().total.calls == 0


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": 3}, {"max_collections": 0}])
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        Statistics(**wrong)
