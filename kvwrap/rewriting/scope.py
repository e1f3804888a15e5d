"""The scopes of a rewrite: where in a stack it reads and writes."""

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
    """A part to read from and write to, and its collections.

    Attributes:
        name: The name of the scope in a checkpoint.
        part: The part.
        collections: The collections to rewrite; `None` for all.
        transforms: The transforms from that part inwards.
    """

    name: str
    part: Primitives
    collections: Sequence[Collection] | None
    transforms: Sequence[Transform]

    async def list_collections(self) -> list[Collection]:
        """Return the collections to rewrite, always in the same order."""
        names = self.collections
        if names is None:
            enumerable = Capability.COLLECTIONS in self.part.capabilities
            names = await self.part.list_collections() if enumerable else [None]
        return sorted(set(names), key=lambda name: (name is not None, name))

    @property
    def is_complete(self) -> bool:
        """True if the scope includes every collection of its part."""
        return self.collections is None and Capability.COLLECTIONS in self.part.capabilities


def scopes_of(store: Store, collections: Sequence[Collection] | None) -> Iterator[Scope]:
    """Yield the scopes of a store: the users' entries, then the layers' own records.

    The users' entries are read at the outermost transform, with the layers outside it that
    rename. Near stores are bypassed, because a rewrite does not concern their copies. So are
    statistics, guards and limits on what users do.

    Raises:
        ConfigurationError: The stack has no transform.
    """
    layers = layers_of(store)
    depths = [depth for depth, layer in enumerate(layers) if isinstance(layer, Transform)]
    if not depths:
        raise ConfigurationError(
            "a rewrite needs a layer that changes bytes, and no layer of this stack changes "
            "bytes: pass the store over which .compress() or .encrypt() stands",
            store=store.name,
        )
    transforms = [layer for layer in layers if isinstance(layer, Transform)]
    yield Scope("values", _renamed(layers[: depths[0] + 1], collections), collections, transforms)
    for depth, layer in enumerate(layers):
        below = [other for other in layers[depth + 1 :] if isinstance(other, Transform)]
        if layer.reserved and below and collections is None:
            yield Scope(layer.name, layer.inner, layer.reserved, below)


def _renamed(layers: Sequence[Layer], collections: Sequence[Collection] | None) -> Primitives:
    """Return the innermost of these layers, under those that rename.

    Inside a keyed hash, names are hashes. A layer outside the hash that would have to know
    the names is left out, and then no collections can be chosen.
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
                    "`collections` needs layers that keep collection names readable, and the "
                    f"names cannot be followed through {layer.name}: rewrite everything, without "
                    "collections=[...]"
                )
            break
        hashed = hashed or hides
    return part


def check(scope: Scope, *, writes: bool, exclusive: bool) -> None:
    """Raise an error for a scope whose part lacks a needed capability.

    Raises:
        UnsupportedOperation: Its keys cannot be enumerated, or its versions not compared.
    """
    capabilities, name = scope.part.capabilities, scope.part.name
    if Capability.KEYS not in capabilities:
        raise UnsupportedOperation(
            "a rewrite needs a store that can enumerate its keys, and this one cannot", store=name
        )
    if writes and not exclusive and Capability.COMPARE_AND_PUT not in capabilities:
        raise UnsupportedOperation(
            "a rewrite needs a store that can compare versions, and this one cannot, so "
            "concurrent writes could be lost: set exclusive=True if there is no other writer",
            store=name,
        )
