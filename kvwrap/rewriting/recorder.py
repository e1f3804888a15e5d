"""A recorder of the entries that pass the transforms of a stack during a rewrite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError
from kvwrap.layers.base.transform import Transform


class Observation(NamedTuple):
    """One entry that passed one transform, under its names at that transform."""

    layer: Transform
    collection: Collection
    key: str
    stored: Entry
    plain: Entry


class Recorder:
    """Collects observations by the version of the entry, which no layer on the way changes.

    Names would not identify entries: they differ from layer to layer. Reads of other tasks
    are collected too, and dropped with the next `clear`.

    Args:
        layers: The transforms to observe, outermost first.
    """

    def __init__(self, layers: Sequence[Transform]) -> None:
        self._layers = layers
        self._innermost = layers[-1]
        self._observations: dict[int, list[Observation]] = {}
        self._written_codecs: dict[int, bytes] = {}

    @contextmanager
    def attach(self) -> Iterator[None]:
        """Observe the transforms for the length of the block.

        Raises:
            ConfigurationError: Another rewrite of this store is running.
        """
        if any(layer.observer is not None for layer in self._layers):
            raise ConfigurationError(
                "only one rewrite of a store can run at a time, and one is running: await it first"
            )
        for layer in self._layers:
            layer.observer = self
        try:
            yield
        finally:
            for layer in self._layers:
                layer.observer = None

    def on_read(
        self,
        layer: Transform,
        collection: Collection,
        keys: Sequence[str],
        stored: Sequence[Entry | None],
        plain: Sequence[Entry | None],
    ) -> None:
        for key, inside, outside in zip(keys, stored, plain):
            if inside is not None and outside is not None:
                observations = self._observations.setdefault(inside.version, [])
                observations.append(Observation(layer, collection, key, inside, outside))

    def on_write(self, layer: Transform, stored: Sequence[Entry], written: Sequence[bool]) -> None:
        if layer is self._innermost:
            for entry, put in zip(stored, written):
                if put:
                    self._written_codecs[entry.version] = entry.codec

    def clear(self) -> None:
        """Drop all observations."""
        self._observations.clear()
        self._written_codecs.clear()

    def take(self, entry: Entry) -> list[Observation]:
        """Remove and return the observations of an entry as read, outermost transform first.

        Several entries of a batch can have one version, if another program wrote the same
        bytes under several keys. They are taken in their order.
        """
        remaining = self._observations.get(entry.version, [])
        taken = []
        for layer in self._layers:
            index = next((n for n, item in enumerate(remaining) if item.layer is layer), None)
            if index is not None:
                taken.append(remaining.pop(index))
        return taken

    def written_codec(self, entry: Entry) -> bytes:
        """Return the codec with which this entry was written."""
        return self._written_codecs.get(entry.version, entry.codec)


async def is_current(observations: Sequence[Observation]) -> bool:
    """Return whether every transform would write the entry in the form it has at rest."""
    for layer, collection, key, stored, plain in reversed(observations):
        await layer.prepare_encode(collection)
        if not layer.is_current(stored, plain, collection, key):
            return False
    return True
