"""What every exporter reads: the counts of several stores, each label once."""

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
    """Counts with the labels they are exported under; `collection` is "" for the default one."""

    store: str
    collection: str
    operation: str
    counts: Counts


class Sources:
    """The `Statistics` layers to export; layers, collections and operations of a name are summed.

    May be changed and read from any thread.
    """

    def __init__(self) -> None:
        self._parts: list[Statistics] = []
        self._lock = threading.Lock()

    def add(self, store: Store) -> None:
        """Export all statistics of this store, those over its second stores included.

        Raises:
            ConfigurationError: There are none.
        """
        found = list(statistics_of(store))
        if not found:
            raise ConfigurationError(
                "there is no Statistics in this stack: begin it with .statistics(name=...)",
                store=store.name,
            )
        with self._lock:
            known = {id(part) for part in self._parts}
            self._parts += [part for part in found if id(part) not in known]

    def remove(self, store: Store) -> None:
        """Export them no longer."""
        gone = {id(part) for part in statistics_of(store)}
        with self._lock:
            self._parts = [part for part in self._parts if id(part) not in gone]

    def __iter__(self) -> Iterator[Labelled]:
        found: dict[tuple[str, Collection, str], list[Counts]] = {}
        with self._lock:
            parts = list(self._parts)
        for snapshot in (part.snapshot() for part in parts):
            for row in snapshot.rows:
                labels = (snapshot.name, row.collection, row.operation)
                found.setdefault(labels, []).append(row.counts)
        for (store, collection, operation), counts in found.items():
            yield Labelled(store, collection or "", operation, Counts.merged(counts))


def statistics_of(store: Store) -> Iterator[Statistics]:
    """Every running `Statistics` of a store and its second stores."""
    for layer in layers_of(store):
        if isinstance(layer, Statistics):
            yield layer
        for _, second in layer.second_stores:
            yield from statistics_of(second)
