"""Export of statistics as OpenTelemetry metrics."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kvwrap import ConfigurationError, MemoryStore, Passthrough, stack
from kvwrap.integrations import opentelemetry
from kvwrap.layers.base import counter
from kvwrap.layers.statistics.histogram import ERROR


def read(reader):
    """Return name, attributes, and value with unit of each point."""
    return [
        (metric.name, dict(point.attributes), (point.value, metric.unit))
        for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


async def test_opentelemetry_sees_what_the_layer_counts(slow_store):
    reader = InMemoryMetricReader()
    opentelemetry.register(slow_store, provider=MeterProvider([reader]))
    await slow_store.put("a", "x" * 8, collection="c")
    await slow_store.get_many(["a", "b"], collection="c")
    with pytest.raises(ConnectionError):
        await slow_store.get("bad", collection="c")
    points = {
        (name, attributes.get("db.operation.name"), attributes.get("quantile")): value
        for name, attributes, value in read(reader)
    }
    assert points["kvwrap.operations", "read", None] == (2, "{call}")
    assert points["kvwrap.hits", "read", None] == (1, "{key}")
    assert points["kvwrap.written", "write", None] == (10, "By")
    assert points["kvwrap.errors", "read", None] == (1, "{call}")
    p99, unit = points["kvwrap.operation.duration", "read", "0.99"]
    assert unit == "s"
    assert points["kvwrap.operation.duration.count", "read", None] == (2, "{call}")
    assert points["kvwrap.operation.duration.sum", "read", None] == (pytest.approx(0.020), "s")
    assert p99 == pytest.approx(0.010, rel=ERROR + 1e-6)


def test_what_is_no_store_is_refused_before_anything_is_exported():
    reader = InMemoryMetricReader()
    with pytest.raises(ConfigurationError, match="`store` must be a store"):
        opentelemetry.register(MemoryStore(), "x", provider=MeterProvider([reader]))
    assert reader.get_metrics_data() is None


async def test_each_export_reads_once_and_sees_what_happened_since(clock):
    reader = InMemoryMetricReader()
    store = stack().statistics("s").read_through(MemoryStore).over(MemoryStore(clock=clock))
    instruments = opentelemetry.register(store, provider=MeterProvider([reader]), name="mine")
    for count in range(1, 4):
        await store.get("a")
        found = {name: value for name, attributes, (value, _) in read(reader)}
        assert found["kvwrap.operations"] == found["kvwrap.near.misses"] == count
    attributes = {name: attributes for name, attributes, _ in read(reader)}
    assert attributes["kvwrap.near.misses"] == {
        "kvwrap.stack": "mine",
        "kvwrap.layer": "ReadThrough",
    }
    assert attributes["kvwrap.operations"] == {
        "kvwrap.stack": "s",
        "kvwrap.layer": "Statistics",
        "db.collection.name": "",
        "db.operation.name": "read",
    }
    instruments.exported.remove(store)
    assert reader.get_metrics_data() is None


async def test_figures_of_classes_that_come_later_are_exported(clock):
    reader = InMemoryMetricReader()
    instruments = opentelemetry.register(provider=MeterProvider([reader]))

    class Late(Passthrough):
        figures = (counter("late.calls", "{call}", "Calls of a layer that came late."),)
        calls = 7

    instruments.add(stack().layer(Late()).over(MemoryStore()))
    assert ("kvwrap.late.calls", 7) in [(name, value[0]) for name, _, value in read(reader)]
    Late.figures = ()
