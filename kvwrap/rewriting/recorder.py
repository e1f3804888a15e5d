"""What the transforms of a stack see pass, kept until the rewrite has looked at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError
from kvwrap.layers.base.transform import Transform


class Observation(NamedTuple):
    """One entry as it passed one transform, under the names it has there."""

    layer: Transform
    collection: Collection
    key: str
    stored: Entry
    plain: Entry


class Recorder:
    """Collects sights by the version of the entry, which no layer on the way changes.

    Names would not do: they differ from layer to layer. What other tasks read meanwhile is
    collected too, and dropped with the next `forget`.

    Args:
        layers: The transforms to watch, outermost first.
    """

    def __init__(self, layers: Sequence[Transform]) -> None:
        self._layers = layers
        self._innermost = layers[-1]
        self._sights: dict[int, list[Observation]] = {}
        self._written: dict[int, bytes] = {}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Watch for the length of the block.

        Raises:
            ConfigurationError: Another rewrite is at work on this store.
        """
        if any(layer.observer is not None for layer in self._layers):
            raise ConfigurationError("a rewrite of this store is under way: await it first")
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
                sights = self._sights.setdefault(inside.version, [])
                sights.append(Observation(layer, collection, key, inside, outside))

    def on_write(
        self, layer: Transform, stored: Sequence[Entry], written: Sequence[bool]
    ) -> None:
        if layer is self._innermost:
            for entry, put in zip(stored, written):
                if put:
                    self._written[entry.version] = entry.codec

    def forget(self) -> None:
        """Drop what has been collected."""
        self._sights.clear()
        self._written.clear()

    def take(self, entry: Entry) -> list[Observation]:
        """How this entry, as read, passed each transform, outermost first.

        Several entries of a batch can have one version, if another program wrote the same
        bytes under several keys: they are taken in their order.
        """
        left = self._sights.get(entry.version, [])
        taken = []
        for layer in self._layers:
            place = next((n for n, sight in enumerate(left) if sight.layer is layer), None)
            if place is not None:
                taken.append(left.pop(place))
        return taken

    def form_written(self, entry: Entry) -> bytes:
        """The codec under which this entry was written."""
        return self._written.get(entry.version, entry.codec)


async def is_current(sights: Sequence[Observation]) -> bool:
    """Whether every transform would write this entry as it lies there."""
    for layer, collection, key, stored, plain in reversed(sights):
        await layer.prepare_encode(collection)
        if not layer.is_current(stored, plain, collection, key):
            return False
    return True
