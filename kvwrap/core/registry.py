"""Where stores, layers and adapters are found by name.

The tables of stores and adapters are data: a module is imported when it is used. The table of
layers is the builder's (`kvwrap.builder.LAYERS`), which is passed in. Stores and layers of other
packages join through the entry-point groups `kvwrap.stores` (by the scheme of their URL) and
`kvwrap.layers`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kvwrap.core.store import Store
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = {
    "memory": "kvwrap.stores.memory:MemoryStore",
    "null": "kvwrap.stores.null:NullStore",
    "redis": "kvwrap.stores.redis.store:RedisStore",
    "rediss": "kvwrap.stores.redis.store:RedisStore",
    "sqlite": "kvwrap.stores.sqlite.store:SQLiteStore",
}
"""Store classes by the scheme of their URL."""

ADAPTERS = (
    "kvwrap.stores.key_value.store:adapted",
    "kvwrap.stores.mapping:adapted",
)
"""Functions that make a store of an object of their kind, with the options given, or give None;
asked in this order."""


def entry_points(*, group: str) -> Iterable[EntryPoint]:
    """What other packages have entered under this group."""
    from importlib.metadata import entry_points as entered  # slow to import, and rarely needed

    return entered(group=group)


def as_store(obj: Any, **options: Any) -> Store:
    """The object itself if it is a store, else a store that keeps its entries in it.

    Args:
        obj: A store, or what one of the adapters knows.
        options: What the adapter's class takes besides the object, `raw=True` say.

    Raises:
        ConfigurationError: No adapter knows objects of this kind.
    """
    if isinstance(obj, Store):
        if options:
            raise ConfigurationError(
                f"a {type(obj).__name__} is a store already, and takes its options when it is made"
            )
        return obj
    for path in ADAPTERS:
        store = _load(path)(obj, **options)
        if store is not None:
            found: Store = store
            return found
    raise ConfigurationError(
        f"kvwrap cannot keep entries in a {type(obj).__name__}: it takes its own stores, objects "
        "with the methods of the AsyncKeyValue protocol, and mutable mappings"
    )


def store_class(scheme: str) -> type[Store]:
    """The class that opens URLs of this scheme; raises `ConfigurationError` for unknown ones."""
    found: type[Store] = _find("kvwrap.stores", STORES, scheme, "URL scheme")
    return found


def layer_class(name: str, own: Mapping[str, type]) -> Any:
    """Return the layer class of this name, from kvwrap's `own` or another package.

    Raises:
        ConfigurationError: No layer has this name.
    """
    return _find("kvwrap.layers", own, name, "layer")


def store_name(cls: type) -> str | None:
    """The scheme by which `store_class` finds this class, or `None`."""
    return _name_of("kvwrap.stores", STORES, cls)


def store_names() -> list[str]:
    """The schemes that `store_class` knows."""
    return sorted({*STORES, *(point.name for point in entry_points(group="kvwrap.stores"))})


def layer_name(cls: type, own: Mapping[str, type]) -> str | None:
    """Return the name by which `layer_class` finds this class, or None."""
    return _name_of("kvwrap.layers", own, cls)


def _find(group: str, own: Mapping[str, str | type], name: str, what: str) -> Any:
    if name in own:
        found = own[name]
        return _load(found) if isinstance(found, str) else found
    others = {point.name: point for point in entry_points(group=group)}
    if name in others:
        try:
            return others[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the {what} {name!r} of another package ({others[name].value}) cannot be loaded: "
                f"{error}"
            ) from error
    raise ConfigurationError(f"no {what} is called {name!r}: {suggest(name, {*own, *others})}")


def _name_of(group: str, own: Mapping[str, str | type], cls: type) -> str | None:
    path = f"{cls.__module__}:{cls.__qualname__}"
    for name, known in own.items():
        if known in (cls, path):
            return name
    for point in entry_points(group=group):
        if point.value.replace(" ", "") == path:
            return point.name
    return None


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
