"""Export of figures to Prometheus, with `prometheus-client` (the extra `prometheus`).

>>> from prometheus_client import CollectorRegistry, generate_latest
>>> from kvwrap import MemoryStore, stack
>>> from kvwrap.integrations import prometheus
>>> registry = CollectorRegistry()
>>> store = stack().statistics(name="sessions").over(MemoryStore())
>>> collector = prometheus.register(store, registry=registry)

Nothing is counted twice: a scrape reads what the layers have counted themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from kvwrap.core.exported import Exported, checked_store
from kvwrap.core.figures import Distribution, Figure, declared
from kvwrap.core.optional import need
from kvwrap.core.store import Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

BOUNDS = tuple(step * 10.0**power for power in range(-6, 1) for step in (1, 2, 5))
"""The bounds of histograms in seconds: 1, 2 and 5 of every decade from 1 us to 5 s."""


class FiguresCollector:
    """A collector of `prometheus-client` over any number of stores.

    Attributes:
        exported: The stores.
    """

    def __init__(self) -> None:
        self.exported = Exported()
        core = need("prometheus_client.metrics_core", extra="prometheus", wanted_by=__name__)
        self._families: dict[str, Any] = {
            "counter": core.CounterMetricFamily,
            "gauge": core.GaugeMetricFamily,
            "histogram": core.HistogramMetricFamily,
        }

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without samples, so that registering reads no figures."""
        return [self._family(figure) for figure in declared()]

    def collect(self) -> Iterable[Metric]:
        """Return the current metrics. A scrape calls this from any thread."""
        families: dict[str, Any] = {}
        for figure, *names, labels, value in self.exported.samples():
            family = families.get(figure.name)
            if family is None:
                family = families[figure.name] = self._family(figure)
            if figure.kind == "histogram":
                family.add_metric((*names, *labels), _cumulative_buckets(value), value.seconds)
            else:
                family.add_metric((*names, *labels), value)
        return list(families.values())

    def _family(self, figure: Figure) -> Any:
        # The client adds `_total` itself.
        name = figure.exported.removesuffix("_total")
        labels = ("stack", "layer", *figure.labels)
        return self._families[figure.kind](name, figure.text, labels=labels)


def _cumulative_buckets(latency: Distribution) -> list[tuple[str, float]]:
    counts = [(f"{bound:g}", float(latency.at_most(bound))) for bound in BOUNDS]
    return [*counts, ("+Inf", float(latency.calls))]


_collectors: WeakKeyDictionary[CollectorRegistry, FiguresCollector] = WeakKeyDictionary()


def register(
    store: Store, *, registry: CollectorRegistry | None = None, name: str | None = None
) -> FiguresCollector:
    """Export the figures of this store, its layers and its second stores. Call it once for each.

    Args:
        store: The store.
        registry: The registry; the default registry of `prometheus-client` if omitted. A
            registry has one collector for all stores.
        name: The value of the label `stack`; the name of the outermost `Statistics` if omitted,
            or "kvwrap" without one. Figures of stores with one name are summed.

    Raises:
        ConfigurationError: `store` is not a store, or `prometheus-client` is not installed.
    """
    checked_store(store)
    client = need("prometheus_client", extra="prometheus", wanted_by=__name__)
    chosen: CollectorRegistry = client.REGISTRY if registry is None else registry
    collector = _collectors.get(chosen)
    if collector is None:
        collector = FiguresCollector()
        chosen.register(collector)
        _collectors[chosen] = collector
    collector.exported.add(store, name)
    return collector


def unregister(store: Store, *, registry: CollectorRegistry | None = None) -> None:
    """Stop exporting this store's figures."""
    client = need("prometheus_client", extra="prometheus", wanted_by=__name__)
    collector = _collectors.get(client.REGISTRY if registry is None else registry)
    if collector is not None:
        collector.exported.remove(store)
