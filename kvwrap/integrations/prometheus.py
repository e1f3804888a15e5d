"""Export of statistics to Prometheus, with `prometheus-client` (the extra `prometheus`).

>>> from prometheus_client import CollectorRegistry, generate_latest
>>> from kvwrap import MemoryStore, stack
>>> from kvwrap.integrations import prometheus
>>> registry = CollectorRegistry()
>>> store = stack().statistics(name="sessions").over(MemoryStore())
>>> collector = prometheus.register(store, registry=registry)

Nothing is counted twice: a scrape reads the layers' own counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.layers.statistics.export import Labelled, Sources
from kvwrap.layers.statistics.histogram import Latency

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

_LABELS = ("store", "collection", "operation")

_COUNTERS = (
    ("operations", "Calls, a batch as one, failed calls included.", "calls"),
    ("keys", "Keys that the calls concerned, or returned.", "keys"),
    ("hits", "Keys read that had an entry.", "hits"),
    ("misses", "Keys read that had no entry.", "misses"),
    ("changes", "Keys that were written or removed, or whose expiry was changed.", "changed"),
    ("read_bytes", "Bytes of entries read.", "bytes_read"),
    ("written_bytes", "Bytes of entries written.", "bytes_written"),
)

BOUNDS = tuple(step * 10.0**power for power in range(-6, 1) for step in (1, 2, 5))
"""The histogram's bounds in seconds: 1, 2 and 5 of every decade from 1 us to 5 s."""


class StatisticsCollector:
    """A collector of `prometheus-client` over the `Statistics` layers of any number of stores."""

    def __init__(self) -> None:
        self.sources = Sources()
        self._core = need("prometheus_client.metrics_core", extra="prometheus", wanted_by=__name__)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, so that registering reads no counts."""
        return self._families(())

    def collect(self) -> Iterable[Metric]:
        """Return the current metrics. A scrape calls this from any thread."""
        return self._families(tuple(self.sources))

    def _families(self, rows: tuple[Labelled, ...]) -> Iterable[Metric]:
        for name, description, attribute in _COUNTERS:
            family = self._core.CounterMetricFamily(f"kvwrap_{name}", description, labels=_LABELS)
            for row in rows:
                value = getattr(row.counts, attribute)
                if value or attribute == "calls":
                    family.add_metric(row[:3], value)
            yield family
        errors = self._core.CounterMetricFamily(
            "kvwrap_errors", "Calls that failed.", labels=(*_LABELS, "error")
        )
        durations = self._core.HistogramMetricFamily(
            "kvwrap_operation_duration_seconds", "Duration of calls.", labels=_LABELS
        )
        for row in rows:
            for error, count in row.counts.errors.items():
                errors.add_metric((*row[:3], error), count)
            latency = row.counts.latency
            durations.add_metric(row[:3], _cumulative_buckets(latency), latency.seconds)
        yield errors
        yield durations


def _cumulative_buckets(latency: Latency) -> list[tuple[str, float]]:
    counts = [(f"{bound:g}", float(latency.at_most(bound))) for bound in BOUNDS]
    return [*counts, ("+Inf", float(latency.calls))]


_collectors: WeakKeyDictionary[CollectorRegistry, StatisticsCollector] = WeakKeyDictionary()


def register(store: Store, *, registry: CollectorRegistry | None = None) -> StatisticsCollector:
    """Export this store's statistics. Call it once for each store.

    Args:
        store: A store with a `Statistics` layer, its own or over a second store.
        registry: The registry; the default registry of `prometheus-client` if omitted. A
            registry has one collector for all stores.

    Raises:
        ConfigurationError: The store has no `Statistics`, or `prometheus-client` is not
            installed.
    """
    client = need("prometheus_client", extra="prometheus", wanted_by=__name__)
    chosen: CollectorRegistry = client.REGISTRY if registry is None else registry
    collector = _collectors.get(chosen)
    if collector is not None:
        collector.sources.add(store)
        return collector
    collector = StatisticsCollector()
    collector.sources.add(store)
    chosen.register(collector)
    _collectors[chosen] = collector
    return collector


def unregister(store: Store, *, registry: CollectorRegistry | None = None) -> None:
    """Stop exporting this store's statistics."""
    client = need("prometheus_client", extra="prometheus", wanted_by=__name__)
    collector = _collectors.get(client.REGISTRY if registry is None else registry)
    if collector is not None:
        collector.sources.remove(store)
