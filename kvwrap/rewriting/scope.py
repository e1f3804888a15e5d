"""The scopes of a rewrite: where in a stack it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kvwrap.core.capability import Capability
from kvwrap.core.layer import Layer, layers_of
from kvwrap.core.paging import check_listing
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, UnsupportedOperation
from kvwrap.layers.base.renaming import Renaming
from kvwrap.layers.base.transform import Transform
from kvwrap.rewriting.chain import Chain, Place


class Scope(NamedTuple):
    """A part that lists keys, and the chain that reads and writes their entries.

    Attributes:
        name: The name of the scope in a checkpoint.
        part: The part that lists them.
        chain: The way of their entries from that part inwards.
        collections: The collections to rewrite; `None` for all.
        prefix: The prefix of the keys to rewrite.
    """

    name: str
    part: Primitives
    chain: Chain
    collections: Sequence[Collection] | None
    prefix: str

    async def list_collections(self) -> list[Collection]:
        """Return the collections to rewrite, always in the same order."""
        names = self.collections
        if names is None:
            enumerable = Capability.COLLECTIONS in self.part.capabilities
            names = await self.part.list_collections() if enumerable else [None]
        return sorted(set(names), key=lambda name: (name is not None, name))

    @property
    def is_complete(self) -> bool:
        """True if the scope includes every key of its part."""
        enumerable = Capability.COLLECTIONS in self.part.capabilities
        return self.collections is None and not self.prefix and enumerable


def scopes_of(
    store: Store, collections: Sequence[Collection] | None, prefix: str
) -> Iterator[Scope]:
    """Yield the scopes of a store: the users' entries, then the layers' own records.

    The users' entries are read at the outermost transform, with the layers outside it that
    rename. Near stores are bypassed, because a rewrite does not concern their copies. So are
    statistics, guards and limits on what users do.

    Raises:
        ConfigurationError: The stack has no transform, or hides the names that are to be chosen.
    """
    if collections is not None:
        collections = [store.default_collection if c is None else c for c in collections]
    layers = layers_of(store)
    depths = [depth for depth, layer in enumerate(layers) if isinstance(layer, Transform)]
    if not depths:
        raise ConfigurationError(
            "a rewrite needs a layer that changes bytes, and no layer of this stack changes "
            "bytes: pass the store over which .compress() or .encrypt() stands",
            store=store.name,
        )
    part, renaming = _renamed(layers[: depths[0] + 1], collections, prefix)
    chain = Chain([*renaming, *layers[depths[0] :]])
    yield Scope("values", part, chain, collections, prefix)
    for depth, layer in enumerate(layers):
        below = layers[depth + 1 :]
        transforms = any(isinstance(other, Transform) for other in below)
        if layer.reserved and transforms and collections is None and not prefix:
            yield Scope(layer.name, layer.inner, Chain(below), layer.reserved, "")


def _renamed(
    layers: Sequence[Layer], collections: Sequence[Collection] | None, prefix: str
) -> tuple[Primitives, list[Layer]]:
    """Return the innermost of these layers under those that rename, and the latter.

    Inside a keyed hash, names are hashes. A layer outside the hash that would have to know
    the names is left out, and then neither collections nor keys can be chosen.
    """
    part: Primitives = layers[-1]
    renaming: list[Layer] = []
    hashed = False
    for layer in reversed(layers[:-1]):
        hides = "hashes_keys" in layer.traits
        if isinstance(layer, Renaming) and not (hashed and layer.prefixes_keys):
            bound = layer.bind(part)
            renaming.insert(0, bound)
            part = bound
        elif (hides and layer.arguments.get("collections")) or isinstance(layer, Renaming):
            if collections is not None:
                raise _hidden("collections=[...]", "collection names", layer)
            if prefix:
                raise _hidden("prefix=...", "keys", layer)
            break
        elif hides and prefix:
            raise _hidden("prefix=...", "keys", layer)
        hashed = hashed or hides
    return part, renaming


def _hidden(argument: str, names: str, layer: Layer) -> ConfigurationError:
    return ConfigurationError(
        f"`{argument.partition('=')[0]}` needs layers that keep {names} readable, and the "
        f"names cannot be followed through {layer.name}: rewrite everything, without {argument}"
    )


async def check(scope: Scope, base: Store, *, writes: bool, exclusive: bool) -> None:
    """Raise an error for a scope whose part lacks a needed capability.

    Raises:
        UnsupportedOperation: Its keys cannot be enumerated, or its versions not compared.
    """
    part = scope.part
    await check_listing(part, base, "a rewrite needs a store", part.name)
    if writes and not exclusive and Capability.COMPARE_AND_PUT not in part.capabilities:
        raise UnsupportedOperation(
            "a rewrite needs a store that can compare versions, and this one cannot, so "
            "concurrent writes could be lost: set exclusive=True if there is no other writer",
            store=part.name,
        )


def check_is_limited(scope: Scope, base: Store, collections: Sequence[Collection]) -> None:
    """Raise an error if a rewrite would change whatever is in a store that others share.

    Raises:
        ConfigurationError: A store with `raw=True` would be rewritten as a whole: its default
            collection, which may have every key, or a collection that nobody has named.
    """
    if "raw" not in base.traits:
        return
    for collection in collections:
        place = scope.chain.place_in_backend(Place(collection, [scope.prefix]))
        is_named = scope.collections is not None or place.collection != collection
        if list(place.keys) == [""] and (place.collection is None or not is_named):
            raise ConfigurationError(
                "with raw=True the store has every key of the backend, also those of other "
                "programs, which cannot read what a rewrite seals: limit it with "
                "prefix='user:' or collections=['user'], or set everything=True if no other "
                "program uses this backend (kvwrap rewrite: --prefix, --collection, --everything)",
                store=base.name,
            )


def check_names(prefix: object, collections: object) -> None:
    """Raise `ConfigurationError` if a choice of names is not one."""
    if not isinstance(prefix, str):
        raise ConfigurationError(f"`prefix` must be a str; got {type(prefix).__name__}")
    names = collections if isinstance(collections, Iterable) else [collections]
    if isinstance(collections, str) or not all(
        name is None or (isinstance(name, str) and name) for name in names
    ):
        raise ConfigurationError(
            "`collections` must be a list of names such as ['users'], with None for the default "
            f"collection; got {collections!r}"
        )
