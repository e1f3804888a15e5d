"""Export of figures as OpenTelemetry metrics, with `opentelemetry-api`.

Install the extra `opentelemetry`. The instruments are observable: the SDK reads what the layers
have counted themselves when it exports. OpenTelemetry has no observable histogram, so latencies
are exported as gauges of their percentiles (attribute `quantile`), with the number and the total
time of the calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kvwrap.core.exported import Exported, checked_store
from kvwrap.core.figures import Distribution, Figure, Sample, declared
from kvwrap.core.optional import need
from kvwrap.core.store import Store

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

_QUANTILES = (0.5, 0.95, 0.99)
_ATTRIBUTES = {
    "collection": "db.collection.name",
    "operation": "db.operation.name",
    "error": "error.type",
}
"""The names of the semantic conventions for labels that they know."""


class FiguresInstruments:
    """Observable instruments over any number of stores.

    Args:
        provider: The provider of the meter; the global provider if omitted.

    Attributes:
        exported: The stores.

    Raises:
        ConfigurationError: `opentelemetry-api` is not installed.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self.exported = Exported()
        api: Any = need(
            "opentelemetry.metrics",
            extra="opentelemetry",
            wanted_by="kvwrap.integrations.opentelemetry",
        )
        self._observation = api.Observation
        self._meter = api.get_meter("kvwrap", meter_provider=provider)
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._samples: dict[str, list[Sample]] = {}
        self._asked: set[str] = set()

    def add(self, store: Store, name: str | None = None) -> None:
        """Export the figures of this store, its layers and its second stores.

        Args:
            store: The store.
            name: The value of `kvwrap.stack`; the name of the outermost `Statistics` if omitted,
                or "kvwrap" without one. Figures of stores with one name are summed.
        """
        self.exported.add(store, name)
        for figure in declared():
            if figure.name not in self._known:
                self._known.add(figure.name)
                self._create(figure)

    def _create(self, figure: Figure) -> None:
        meter, name = self._meter, f"kvwrap.{figure.name}"
        if figure.kind == "gauge":
            observe = self._observer(name, figure, _value)
            meter.create_observable_gauge(name, [observe], figure.unit, figure.text)
        elif figure.kind == "counter":
            observe = self._observer(name, figure, _value)
            meter.create_observable_counter(name, [observe], figure.unit, figure.text)
        else:
            observe = self._observer(name, figure, _quantiles)
            meter.create_observable_gauge(name, [observe], figure.unit, figure.text)
            for suffix, unit, read in (("count", "{call}", _count), ("sum", figure.unit, _sum)):
                observe = self._observer(f"{name}.{suffix}", figure, read)
                meter.create_observable_counter(f"{name}.{suffix}", [observe], unit, figure.text)

    def _observer(
        self, instrument: str, figure: Figure, read: _Read
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            for sample in self._read(instrument, figure):
                for value, more in read(sample.value):
                    yield self._observation(value, _attributes(sample) | more)

        return observe

    def _read(self, instrument: str, figure: Figure) -> list[Sample]:
        """Return the samples of a figure. What is read for one instrument serves the others.

        The SDK asks for each instrument once in an export. So the second question of one instrument
        is the beginning of another export.
        """
        with self._lock:
            if not self._asked or instrument in self._asked:
                self._asked, self._samples = set(), {}
                for sample in self.exported.samples():
                    self._samples.setdefault(sample.figure.name, []).append(sample)
            self._asked.add(instrument)
            return self._samples.get(figure.name, [])


_Read = Callable[[Any], Iterable[tuple[float, dict[str, str]]]]


def _value(value: float) -> Iterable[tuple[float, dict[str, str]]]:
    return ((value, {}),)


def _quantiles(value: Distribution) -> Iterable[tuple[float, dict[str, str]]]:
    return [(value.percentile(share), {"quantile": str(share)}) for share in _QUANTILES]


def _count(value: Distribution) -> Iterable[tuple[float, dict[str, str]]]:
    return ((value.calls, {}),)


def _sum(value: Distribution) -> Iterable[tuple[float, dict[str, str]]]:
    return ((value.seconds, {}),)


def _attributes(sample: Sample) -> dict[str, str]:
    labels = zip(sample.figure.labels, sample.labels, strict=True)
    return {
        "kvwrap.stack": sample.stack,
        "kvwrap.layer": sample.layer,
        **{_ATTRIBUTES.get(name, f"kvwrap.{name}"): value for name, value in labels},
    }


def register(
    *stores: Store, provider: MeterProvider | None = None, name: str | None = None
) -> FiguresInstruments:
    """Export the figures of these stores, their layers and second stores.

    `.add(store)` of the result adds more, and `.exported.remove(store)` takes one out.

    Args:
        stores: The stores.
        provider: The provider of the meter; the global provider if omitted.
        name: The value of `kvwrap.stack`; the name of the outermost `Statistics` if omitted, or
            "kvwrap" without one. Figures of stores with one name are summed.

    Raises:
        ConfigurationError: One is not a store, or `opentelemetry-api` is not installed.
    """
    # All before the first, since the provider would keep what is exported already.
    for store in stores:
        checked_store(store)
    instruments = FiguresInstruments(provider)
    for store in stores:
        instruments.add(store, name)
    return instruments
