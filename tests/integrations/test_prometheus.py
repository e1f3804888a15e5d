"""Export of statistics to Prometheus."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import kvwrap
from kvwrap import Chaos, ConfigurationError, MemoryStore, Statistics, StoreUnavailable, stack
from kvwrap.integrations import prometheus
from kvwrap.layers.statistics.histogram import Latency, bucket_index


def scrape(registry):
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (
            sample.name,
            *(sample.labels.get(name) for name in ("stack", "collection", "operation")),
            sample.labels.get("le") or sample.labels.get("error"),
        ): sample.value
        for family in families
        for sample in family.samples
    }


async def test_prometheus_sees_what_the_layer_counts(slow_store):
    registry = CollectorRegistry()
    prometheus.register(slow_store, registry=registry)
    await slow_store.put("a", "x" * 8, collection="c")
    await slow_store.get_many(["a", "b"], collection="c")
    with pytest.raises(ConnectionError):
        await slow_store.get("bad")
    samples = scrape(registry)
    assert samples["kvwrap_operations_total", "s", "c", "read", None] == 1
    assert samples["kvwrap_hits_total", "s", "c", "read", None] == 1
    assert samples["kvwrap_misses_total", "s", "c", "read", None] == 1
    assert samples["kvwrap_written_bytes_total", "s", "c", "write", None] == 10
    assert samples["kvwrap_read_bytes_total", "s", "c", "read", None] == 10
    assert samples["kvwrap_errors_total", "s", "", "read", "ConnectionError"] == 1
    name = "kvwrap_operation_duration_seconds"
    assert samples[f"{name}_count", "s", "c", "read", None] == 1
    assert samples[f"{name}_sum", "s", "c", "read", None] == pytest.approx(0.010)
    assert samples[f"{name}_bucket", "s", "c", "read", "0.005"] == 0
    assert samples[f"{name}_bucket", "s", "c", "read", "0.02"] == 1
    assert samples[f"{name}_bucket", "s", "c", "read", "+Inf"] == 1


async def test_stores_share_a_registry_and_those_of_one_name_are_summed():
    registry = CollectorRegistry(auto_describe=True)
    stores = [stack().statistics(name=name).over(MemoryStore()) for name in ("a", "a", "b")]
    for store in stores:
        assert prometheus.register(store, registry=registry) is prometheus.register(
            store, registry=registry
        )
        await store.get("x")
    operations = "kvwrap_operations_total"
    assert scrape(registry)[operations, "a", "", "read", None] == 2
    assert scrape(registry)[operations, "b", "", "read", None] == 1
    prometheus.unregister(stores[0], registry=registry)
    assert scrape(registry)[operations, "a", "", "read", None] == 1


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


async def test_a_store_without_statistics_is_exported_under_a_name(clock):
    registry = CollectorRegistry()
    store = stack().read_through(MemoryStore(max_entries=9), ttl=1).over(MemoryStore())
    prometheus.register(store, registry=registry, name="mine")
    await store.get("a")
    text = generate_latest(registry).decode()
    assert 'kvwrap_near_misses_total{layer="ReadThrough",stack="mine"} 1.0' in text
    assert 'kvwrap_entries_limit{layer="near/MemoryStore",stack="mine"} 9.0' in text


async def test_states_of_a_breaker_are_a_gauge_each(clock):
    registry = CollectorRegistry()
    store = stack().circuit_breaker(failures=1).chaos().over(MemoryStore(clock=clock))
    prometheus.register(store, registry=registry)
    store.find(Chaos).down = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.get("a")
    text = generate_latest(registry).decode()
    assert 'kvwrap_breaker_state{layer="CircuitBreaker",stack="kvwrap",state="open"} 1.0' in text
    assert 'kvwrap_breaker_state{layer="CircuitBreaker",stack="kvwrap",state="closed"} 0.0' in text
    assert 'kvwrap_breaker_rejected_total{layer="CircuitBreaker",stack="kvwrap"} 2.0' in text


@pytest.mark.parametrize("wrong", ["x", None, MemoryStore, stack().statistics()])
def test_what_is_no_store_is_refused_at_once(wrong):
    registry = CollectorRegistry()
    with pytest.raises(ConfigurationError, match="`store` must be a store"):
        prometheus.register(wrong, registry=registry)
    assert generate_latest(registry) == b""
    assert not list(registry.collect())


def test_a_view_is_refused_with_the_way_out():
    refused = pytest.raises(ConfigurationError, match="export the store")
    with kvwrap.sync(MemoryStore()) as view, refused:
        prometheus.register(view, registry=CollectorRegistry())


def test_one_metric_can_be_scraped_by_its_name():
    registry = CollectorRegistry()
    prometheus.register(MemoryStore(), registry=registry)
    text = generate_latest(registry.restricted_registry(["kvwrap_entries"])).decode()
    assert 'kvwrap_entries{layer="MemoryStore",stack="kvwrap"} 0.0' in text
    assert "evictions" not in text


def test_the_text_follows_the_conventions_of_the_format():
    """Counters end in `_total`; every metric has a help text and a type."""
    registry = CollectorRegistry()
    prometheus.register(MemoryStore(), registry=registry)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert families
    for family in families:
        assert family.name.startswith("kvwrap_")
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_bounds_are_true_to_a_third_of_a_percent():
    for limit in prometheus.BOUNDS:
        below, above = limit * 0.996, limit * 1.004
        latency = Latency(
            below + above, tuple(sorted({bucket_index(below): 1, bucket_index(above): 1}.items()))
        )
        assert latency.calls == 2
        assert latency.at_most(limit) == 1


def test_exporters_are_loaded_only_when_they_are_used():
    code = (
        "import sys, kvwrap, kvwrap.integrations.prometheus, kvwrap.integrations.opentelemetry;"
        "assert not {'prometheus_client', 'opentelemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
