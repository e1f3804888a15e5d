"""Where in a stack a rewrite reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvwrap.core.capability import Capability
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.renaming import Renaming
from kvwrap.core.store import Store
from kvwrap.core.transform import Transform
from kvwrap.errors import ConfigurationError, UnsupportedOperation


class Place(NamedTuple):
    """A part to read from and write to, and the collections there.

    Attributes:
        name: What the state of a rewrite calls it.
        part: The part.
        collections: The collections to go through; `None` for all.
        transforms: The transforms from there inwards.
    """

    name: str
    part: Primitives
    collections: Sequence[Collection] | None
    transforms: Sequence[Transform]

    async def all_collections(self) -> list[Collection]:
        """The collections to go through, in an order that is always the same."""
        found = self.collections
        if found is None:
            found = await self.part.list_collections()
        return sorted(set(found), key=lambda name: (name is not None, name))


def places(store: Store, collections: Sequence[Collection] | None) -> Iterator[Place]:
    """The places to go through: the users' entries, then what layers keep for themselves.

    The users' entries are met at the outermost transform, behind those layers outside it
    that rename: not behind near stores, whose copies are none of a rewrite's business, nor
    behind statistics, guards and limits on what users do.

    Raises:
        ConfigurationError: There is no transform in the stack.
    """
    layers = store.layers
    depths = [depth for depth, layer in enumerate(layers) if isinstance(layer, Transform)]
    if not depths:
        raise ConfigurationError(
            "no layer of this stack changes bytes, so there is nothing to rewrite: call this on "
            "the store behind .compress() or .encrypt()",
            store=store.name,
        )
    transforms = [layer for layer in layers if isinstance(layer, Transform)]
    part: Primitives = transforms[0]
    for layer in reversed(layers[: depths[0]]):
        if isinstance(layer, Renaming):
            part = layer.running(part)
    yield Place("values", part, collections, transforms)
    for layer in layers:
        if layer.reserved and collections is None:
            inside = layers[layers.index(layer) + 1 :]
            below = [each for each in inside if isinstance(each, Transform)]
            if below:
                yield Place(layer.name, layer.inner, layer.reserved, below)


def check(place: Place, *, writes: bool, exclusive: bool) -> None:
    """Refuse what the place cannot do.

    Raises:
        UnsupportedOperation: Its keys cannot be enumerated, or versions not compared.
    """
    able, name = place.part.capabilities, place.part.name
    if Capability.KEYS not in able:
        raise UnsupportedOperation(
            "a rewrite needs a store that can enumerate its keys", store=name
        )
    if place.collections is None and Capability.COLLECTIONS not in able:
        raise UnsupportedOperation(
            "a rewrite of everything needs a store that can enumerate its collections: name them "
            "in collections=[...]",
            store=name,
        )
    if writes and not exclusive and Capability.COMPARE_AND_PUT not in able:
        raise UnsupportedOperation(
            "this store cannot compare versions, so a rewrite could undo what others write "
            "meanwhile: say exclusive=True if nobody does",
            store=name,
        )
