"""Export of statistics as OpenTelemetry metrics, with `opentelemetry-api`.

Install the extra `opentelemetry`. The instruments are observable: the SDK reads the layers'
own counts when it exports. OpenTelemetry has no observable histogram, so latencies are
exported as gauges of their percentiles (attribute `quantile`) and as the total time of all
calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.layers.statistics.counts import Counts
from kvwrap.layers.statistics.export import Labelled, Sources

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

_COUNTERS: tuple[tuple[str, str, str, Callable[[Counts], float]], ...] = (
    ("kvwrap.operations", "{operation}", "Calls, a batch as one.", lambda counts: counts.calls),
    ("kvwrap.keys", "{key}", "Keys that calls concerned.", lambda counts: counts.keys),
    ("kvwrap.hits", "{key}", "Keys read that had an entry.", lambda counts: counts.hits),
    ("kvwrap.misses", "{key}", "Keys read that had no entry.", lambda counts: counts.misses),
    ("kvwrap.changes", "{key}", "Keys written or removed.", lambda counts: counts.changed),
    ("kvwrap.read.size", "By", "Bytes of entries read.", lambda counts: counts.bytes_read),
    ("kvwrap.write.size", "By", "Bytes of entries written.", lambda counts: counts.bytes_written),
    (
        "kvwrap.operation.time",
        "s",
        "Total time of all calls.",
        lambda counts: counts.latency.seconds,
    ),
)
_QUANTILES = (0.5, 0.95, 0.99)


class StatisticsInstruments:
    """Observable instruments over the `Statistics` layers of any number of stores.

    Args:
        provider: The provider of the meter; the global provider if omitted.

    Raises:
        ConfigurationError: `opentelemetry-api` is not installed.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self.sources = Sources()
        api: Any = need(
            "opentelemetry.metrics",
            extra="opentelemetry",
            wanted_by="kvwrap.integrations.opentelemetry",
        )
        self._observation = api.Observation
        meter = api.get_meter("kvwrap", meter_provider=provider)
        for name, unit, description, value in _COUNTERS:
            meter.create_observable_counter(name, [self._observer(value)], unit, description)
        meter.create_observable_counter(
            "kvwrap.errors", [self._observe_errors], "{operation}", "Calls that failed."
        )
        meter.create_observable_gauge(
            "kvwrap.operation.duration", [self._observe_quantiles], "s", "Duration of calls."
        )

    def _observer(
        self, value: Callable[[Counts], float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [self._observation(value(row.counts), _attributes(row)) for row in self.sources]

        return observe

    def _observe_errors(self, options: CallbackOptions) -> Iterable[Observation]:
        for row in self.sources:
            for error, count in row.counts.errors.items():
                yield self._observation(count, {**_attributes(row), "error.type": error})

    def _observe_quantiles(self, options: CallbackOptions) -> Iterable[Observation]:
        for row in self.sources:
            for quantile in _QUANTILES:
                attributes = {**_attributes(row), "quantile": str(quantile)}
                yield self._observation(row.counts.latency.percentile(quantile), attributes)


def _attributes(row: Labelled) -> dict[str, str]:
    return {
        "kvwrap.store": row.store,
        "db.collection.name": row.collection,
        "db.operation.name": row.operation,
    }


def register(*stores: Store, provider: MeterProvider | None = None) -> StatisticsInstruments:
    """Export the statistics of these stores. `.sources.add(store)` adds more.

    Args:
        stores: Stores with a `Statistics` layer, their own or over a second store.
        provider: The provider of the meter; the global provider if omitted.

    Raises:
        ConfigurationError: A store has no `Statistics`, or `opentelemetry-api` is not installed.
    """
    instruments = StatisticsInstruments(provider)
    for store in stores:
        instruments.sources.add(store)
    return instruments
