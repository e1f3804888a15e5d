"""Export of statistics as OpenTelemetry metrics."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kvwrap.integrations import opentelemetry
from kvwrap.layers.statistics.histogram import ERROR


async def test_opentelemetry_sees_what_the_layer_counts(slow_store):
    reader = InMemoryMetricReader()
    opentelemetry.register(slow_store, provider=MeterProvider([reader]))
    await slow_store.put("a", "x" * 8, collection="c")
    await slow_store.get_many(["a", "b"], collection="c")
    with pytest.raises(ConnectionError):
        await slow_store.get("bad", collection="c")
    data = reader.get_metrics_data()
    points = {
        (metric.name, point.attributes["db.operation.name"], point.attributes.get("quantile")): (
            point.value,
            metric.unit,
        )
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert points["kvwrap.operations", "read", None] == (2, "{operation}")
    assert points["kvwrap.hits", "read", None] == (1, "{key}")
    assert points["kvwrap.write.size", "write", None] == (10, "By")
    assert points["kvwrap.errors", "read", None] == (1, "{operation}")
    p99, unit = points["kvwrap.operation.duration", "read", "0.99"]
    assert unit == "s"
    assert p99 == pytest.approx(0.010, rel=ERROR + 1e-6)
