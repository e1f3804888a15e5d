"""The counts that exporters read: those of several stores, each combination of labels once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from kvwrap.core.layer import layers_of
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.statistics.counts import Counts


class Labelled(NamedTuple):
    """Counts with the labels under which they are exported.

    Attributes:
        store: Name of the `Statistics` layer.
        collection: Name of the collection; `""` for the default one.
        operation: The primitive.
        counts: The counts.
    """

    store: str
    collection: str
    operation: str
    counts: Counts


class Sources:
    """The `Statistics` layers to export. Rows with the same labels are summed.

    May be changed and read from any thread.
    """

    def __init__(self) -> None:
        self._layers: list[Statistics] = []
        self._lock = threading.Lock()

    def add(self, store: Store) -> None:
        """Export all `Statistics` of this store, those over its second stores included.

        Raises:
            ConfigurationError: The store has no `Statistics`.
        """
        layers = list(statistics_of(store))
        if not layers:
            raise ConfigurationError(
                "a store to export must have a Statistics layer; got one without. Start its stack "
                "with stack().statistics(name=...).",
                store=store.name,
            )
        with self._lock:
            known = {id(layer) for layer in self._layers}
            self._layers += [layer for layer in layers if id(layer) not in known]

    def remove(self, store: Store) -> None:
        """Stop exporting the `Statistics` of this store."""
        removed = {id(layer) for layer in statistics_of(store)}
        with self._lock:
            self._layers = [layer for layer in self._layers if id(layer) not in removed]

    def __iter__(self) -> Iterator[Labelled]:
        by_labels: dict[tuple[str, Collection, str], list[Counts]] = {}
        with self._lock:
            layers = list(self._layers)
        for snapshot in (layer.snapshot() for layer in layers):
            for row in snapshot.rows:
                labels = (snapshot.name, row.collection, row.operation)
                by_labels.setdefault(labels, []).append(row.counts)
        for (store, collection, operation), counts in by_labels.items():
            yield Labelled(store, collection or "", operation, Counts.merged(counts))


def statistics_of(store: Store) -> Iterator[Statistics]:
    """Yield all running `Statistics` of a store and of its second stores."""
    for layer in layers_of(store):
        if isinstance(layer, Statistics):
            yield layer
        for _, second in layer.second_stores:
            yield from statistics_of(second)
