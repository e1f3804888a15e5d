"""Where in a stack a rewrite reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvwrap.core.capability import Capability
from kvwrap.core.layer import Layer, layers_of
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, UnsupportedOperation
from kvwrap.layers.base.renaming import Renaming
from kvwrap.layers.base.transform import Transform


class Scope(NamedTuple):
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
            enumerable = Capability.COLLECTIONS in self.part.capabilities
            found = await self.part.list_collections() if enumerable else [None]
        return sorted(set(found), key=lambda name: (name is not None, name))

    @property
    def is_whole(self) -> bool:
        """Whether everything at this place is gone through."""
        return self.collections is None and Capability.COLLECTIONS in self.part.capabilities


def scopes(store: Store, collections: Sequence[Collection] | None) -> Iterator[Scope]:
    """The places to go through: the users' entries, then what layers keep for themselves.

    The users' entries are met at the outermost transform, behind those layers outside it
    that rename: not behind near stores, whose copies are none of a rewrite's business, nor
    behind statistics, guards and limits on what users do.

    Raises:
        ConfigurationError: There is no transform in the stack.
    """
    layers = layers_of(store)
    depths = [depth for depth, layer in enumerate(layers) if isinstance(layer, Transform)]
    if not depths:
        raise ConfigurationError(
            "no layer of this stack changes bytes, so there is nothing to rewrite: call this on "
            "the store behind .compress() or .encrypt()",
            store=store.name,
        )
    transforms = [layer for layer in layers if isinstance(layer, Transform)]
    yield Scope("values", _renamed(layers[: depths[0] + 1], collections), collections, transforms)
    for depth, layer in enumerate(layers):
        below = [each for each in layers[depth + 1 :] if isinstance(each, Transform)]
        if layer.reserved and below and collections is None:
            yield Scope(layer.name, layer.inner, layer.reserved, below)


def _renamed(layers: Sequence[Layer], collections: Sequence[Collection] | None) -> Primitives:
    """The innermost of these layers, behind those that rename.

    What is behind a keyed hash has hashes for names. Where a layer outside the hash would
    have to know them, it is left out, and no collections can be named.
    """
    part: Primitives = layers[-1]
    hashed = False
    for layer in reversed(layers[:-1]):
        hides = "hashes_keys" in layer.traits
        if isinstance(layer, Renaming) and not (hashed and layer.prefixes_keys):
            part = layer.bind(part)
        elif (hides and layer.arguments.get("collections")) or isinstance(layer, Renaming):
            if collections is not None:
                raise ConfigurationError(
                    f"the names of collections cannot be followed through {layer.name}: rewrite "
                    "everything, without collections=[...]"
                )
            break
        hashed = hashed or hides
    return part


def check(place: Scope, *, writes: bool, exclusive: bool) -> None:
    """Refuse what the place cannot do.

    Raises:
        UnsupportedOperation: Its keys cannot be enumerated, or versions not compared.
    """
    able, name = place.part.capabilities, place.part.name
    if Capability.KEYS not in able:
        raise UnsupportedOperation(
            "a rewrite needs a store that can enumerate its keys", store=name
        )
    if writes and not exclusive and Capability.COMPARE_AND_PUT not in able:
        raise UnsupportedOperation(
            "this store cannot compare versions, so a rewrite could undo what others write "
            "meanwhile: say exclusive=True if nobody does",
            store=name,
        )
