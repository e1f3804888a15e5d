"""What Statistics counts, and how it is read."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kvwrap import ConfigurationError, MemoryStore, Passthrough, Statistics, stack
from kvwrap.integrations import opentelemetry, prometheus
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


# -- Prometheus ----------------------------------------------------------------------------


def scraped(registry):
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (
            sample.name,
            *(sample.labels.get(name) for name in ("store", "collection", "operation")),
            sample.labels.get("le") or sample.labels.get("error"),
        ): sample.value
        for family in families
        for sample in family.samples
    }


async def test_prometheus_sees_what_the_layer_counts(clock):
    registry = CollectorRegistry()
    store = stack().statistics(name="s").layer(Slow()).over(MemoryStore(clock=clock))
    prometheus.register(store, registry=registry)
    await store.put("a", "x" * 8, collection="c")
    await store.get_many(["a", "b"], collection="c")
    with pytest.raises(ConnectionError):
        await store.get("bad")
    found = scraped(registry)
    assert found["kvwrap_operations_total", "s", "c", "read", None] == 1
    assert found["kvwrap_hits_total", "s", "c", "read", None] == 1
    assert found["kvwrap_misses_total", "s", "c", "read", None] == 1
    assert found["kvwrap_written_bytes_total", "s", "c", "write", None] == 10
    assert found["kvwrap_read_bytes_total", "s", "c", "read", None] == 10
    assert found["kvwrap_errors_total", "s", "", "read", "ConnectionError"] == 1
    name = "kvwrap_operation_duration_seconds"
    assert found[f"{name}_count", "s", "c", "read", None] == 1
    assert found[f"{name}_sum", "s", "c", "read", None] == pytest.approx(0.010)
    assert found[f"{name}_bucket", "s", "c", "read", "0.005"] == 0
    assert found[f"{name}_bucket", "s", "c", "read", "0.02"] == 1
    assert found[f"{name}_bucket", "s", "c", "read", "+Inf"] == 1


async def test_stores_share_a_registry_and_those_of_one_name_are_summed():
    registry = CollectorRegistry(auto_describe=True)
    stores = [stack().statistics(name=name).over(MemoryStore()) for name in ("a", "a", "b")]
    for store in stores:
        assert prometheus.register(store, registry=registry) is prometheus.register(
            store, registry=registry
        )
        await store.get("x")
    operations = "kvwrap_operations_total"
    assert scraped(registry)[operations, "a", "", "read", None] == 2
    assert scraped(registry)[operations, "b", "", "read", None] == 1
    prometheus.unregister(stores[0], registry=registry)
    assert scraped(registry)[operations, "a", "", "read", None] == 1


async def test_a_scrape_in_another_thread_does_not_disturb(clock):
    registry = CollectorRegistry()
    store = stack().statistics().over(MemoryStore(clock=clock))
    prometheus.register(store, registry=registry)
    threads = ThreadPoolExecutor(1)
    scrapes = threads.submit(lambda: [generate_latest(registry) for _ in range(20)])
    calls, rng = 0, random.Random(1)
    while not scrapes.done():
        for _ in range(50):
            clock.advance(rng.random())
            await store.get("a", collection=f"c{calls % 150}")
            calls += 1
        await asyncio.sleep(0)
    threads.shutdown()
    assert len(scrapes.result()) == 20
    assert store.find(Statistics).snapshot().total.calls == calls


def test_a_store_without_statistics_cannot_be_exported():
    with pytest.raises(ConfigurationError, match="statistics"):
        prometheus.register(MemoryStore(), registry=CollectorRegistry())


def test_bounds_are_true_to_a_third_of_a_percent():
    for limit in prometheus.BOUNDS:
        took = latency([limit * 0.996, limit * 1.004])
        assert took.at_most(limit) == 1


def test_exporters_are_loaded_only_when_wanted():
    code = (
        "import sys, kvwrap, kvwrap.integrations.prometheus, kvwrap.integrations.opentelemetry;"
        "assert not {'prometheus_client', 'opentelemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- OpenTelemetry -------------------------------------------------------------------------


async def test_opentelemetry_sees_what_the_layer_counts(clock):
    reader = InMemoryMetricReader()
    store = stack().statistics(name="s").layer(Slow()).over(MemoryStore(clock=clock))
    opentelemetry.register(store, provider=MeterProvider([reader]))
    await store.put("a", "x" * 8, collection="c")
    await store.get_many(["a", "b"], collection="c")
    with pytest.raises(ConnectionError):
        await store.get("bad", collection="c")
    data = reader.get_metrics_data()
    found = {
        (metric.name, point.attributes["db.operation.name"], point.attributes.get("quantile")): (
            point.value,
            metric.unit,
        )
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert found["kvwrap.operations", "read", None] == (2, "{operation}")
    assert found["kvwrap.hits", "read", None] == (1, "{key}")
    assert found["kvwrap.write.size", "write", None] == (10, "By")
    assert found["kvwrap.errors", "read", None] == (1, "{operation}")
    p99, unit = found["kvwrap.operation.duration", "read", "0.99"]
    assert unit == "s"
    assert p99 == pytest.approx(0.010, rel=ERROR + 1e-6)
