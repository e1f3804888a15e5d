"""The way of an entry through the layers of a stack, walked step by step.

A rewrite compares what is stored with what the stack would store now. It reads the stored form
itself, and decodes and encodes it layer by layer. So it knows for each key which form belongs
to it, whatever other tasks read and write through the same layers meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected, Primitives
from kvwrap.errors import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    KvwrapError,
    ValueTooLarge,
)
from kvwrap.layers.base.renaming import Renaming
from kvwrap.layers.base.transform import Transform

ENTRY_ERRORS = (DecryptionError, CorruptEntry, ValueTooLarge)
"""Errors that concern one entry, and do not prevent the rewriting of others."""

_COPIES = {"caches", "coalesces"}
"""Layers that may answer a read with what another read returned."""

_PLAIN = _COPIES | {"observes", "guards", "limits_rate", "retries", "times_out", "breaks"}
"""Layers that change neither names nor entries, and have no entry that `inner` does not have."""


class Place(NamedTuple):
    """The names of some keys at one layer."""

    collection: Collection
    keys: Sequence[str]

    def inside(self, layer: Renaming) -> Place:
        """Return the names inside a layer that renames."""
        collection, prefix = layer.map_collection(self.collection)
        return Place(collection, [prefix + key for key in self.keys] if prefix else self.keys)


class Link(NamedTuple):
    """A transform, and the names of the keys of a batch at it."""

    transform: Transform
    place: Place


class Reading(NamedTuple):
    """An entry of a batch as read.

    Attributes:
        key: Its key at the outermost layer of the chain.
        stored: The entry as stored; None if it is missing.
        plain: The entry as users see it; None if they see no entry, or it cannot be decoded.
        is_current: True if every transform would store it in the form that it has.
        error: The error that prevents its decoding.
    """

    key: str
    stored: Entry | None
    plain: Entry | None
    is_current: bool
    error: KvwrapError | None


class Chain:
    """The transforms of a stack with the layers that rename, from a layer inwards.

    Reads bypass near stores and other layers that may answer with a copy, so they show what
    is stored. Writes pass every layer inside the innermost transform: near stores get to know
    of them.

    Args:
        layers: Running layers, outermost first. One of them is a transform.

    Raises:
        ConfigurationError: Entries cannot be followed through a layer between two transforms.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        depths = [depth for depth, layer in enumerate(layers) if isinstance(layer, Transform)]
        self._steps: list[Renaming | Transform] = []
        for layer in layers[: depths[-1] + 1]:
            if isinstance(layer, Renaming | Transform):
                self._steps.append(layer)
            elif layer.traits & {"spreads", "renames"}:
                raise ConfigurationError(
                    f"a rewrite cannot follow entries through {layer.name} where it stands "
                    "between two layers that change bytes: put it outside or inside both, or give "
                    "each of its stores a stack of its own and rewrite those",
                    store=layer.name,
                )
        self._inner = layers[depths[-1] + 1 :]
        self._target = layers[depths[-1]].inner
        self._source, self._renamings = _find_source(self._target, self._inner)

    @property
    def transforms(self) -> list[Transform]:
        """The transforms of this chain, outermost first."""
        return [step for step in self._steps if isinstance(step, Transform)]

    def _links(self, place: Place) -> tuple[list[Link], Place]:
        """Return the links for these names, outermost first, and the names inside them."""
        links = []
        for step in self._steps:
            if isinstance(step, Transform):
                links.append(Link(step, place))
            else:
                place = place.inside(step)
        return links, place

    def place_in_backend(self, place: Place) -> Place:
        """Return names, or prefixes of names, as the backend gets them."""
        for layer in (*self._steps, *self._inner):
            if isinstance(layer, Renaming):
                place = place.inside(layer)
        return place

    async def read(self, place: Place) -> list[Reading]:
        """Read and decode the entries of some keys.

        Raises one of `ENTRY_ERRORS` if one of several entries prevents the reading of them all.
        """
        links, inside = self._links(place)
        for layer in self._renamings:
            inside = inside.inside(layer)
        stored = await self._source.read(inside.collection, inside.keys)
        errors: list[KvwrapError | None] = [None] * len(stored)
        stages = [stored]
        for transform, names in reversed(links):
            await transform.prepare_decode(names.collection, stages[-1])
            decoded: list[Entry | None] = []
            for index, (key, entry) in enumerate(zip(names.keys, stages[-1], strict=True)):
                result = None
                if entry is not None:
                    try:
                        result = transform.decode(entry, names.collection, key)
                    except KvwrapError as error:
                        errors[index] = error
                decoded.append(result)
            stages.append(decoded)
        current = [True] * len(stored)
        for depth, (transform, names) in enumerate(reversed(links)):
            await transform.prepare_encode(names.collection)
            pairs = zip(names.keys, stages[depth], stages[depth + 1], strict=True)
            for index, (key, before, after) in enumerate(pairs):
                if current[index] and before is not None and after is not None:
                    try:
                        current[index] = transform.is_current(before, after, names.collection, key)
                    except ENTRY_ERRORS as error:
                        errors[index] = error
        return [
            Reading(*reading)
            for reading in zip(place.keys, stored, stages[-1], current, errors, strict=True)
        ]

    async def encode(self, place: Place, entries: Sequence[Entry]) -> list[Entry | KvwrapError]:
        """Encode entries, one for each key. The result has the error in place of an entry."""
        links, _ = self._links(place)
        encoded: list[Entry | KvwrapError] = list(entries)
        for transform, names in links:
            await transform.prepare_encode(names.collection)
            for index, (key, entry) in enumerate(zip(names.keys, encoded, strict=True)):
                if isinstance(entry, Entry):
                    try:
                        encoded[index] = transform.encode(entry, names.collection, key)
                    except ENTRY_ERRORS as error:
                        encoded[index] = error
        return encoded

    async def write(
        self, place: Place, encoded: Sequence[Entry], expected: Sequence[Expected] | None
    ) -> list[bool]:
        """Write encoded entries. Returns, per key, True if it was written."""
        _, inside = self._links(place)
        return await self._target.write(inside.collection, inside.keys, encoded, expected)


def _find_source(
    target: Primitives, layers: Sequence[Layer]
) -> tuple[Primitives, Sequence[Renaming]]:
    """Return where to read, and the layers in front of it that rename.

    That is inside the innermost layer that may answer with a copy, if the way to it is known.
    """
    source, renamings = target, 0
    passed: list[Renaming] = []
    for layer in layers:
        if isinstance(layer, Renaming):
            passed.append(layer)
        elif not layer.traits or not layer.traits <= _PLAIN:
            break
        elif layer.traits & _COPIES:
            source, renamings = layer.inner, len(passed)
    return source, passed[:renamings]
