"""Where stores, layers and adapters are found by name.

The table of kvwrap's own is data: nothing is imported before it is wanted. Stores and
layers of other packages join through the entry-point groups `kvwrap.stores` (by the
scheme of their URL) and `kvwrap.layers`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
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

LAYERS = {
    "chaos": "kvwrap.layers.chaos:Chaos",
    "circuit_breaker": "kvwrap.layers.circuit_breaker:CircuitBreaker",
    "clamp_ttl": "kvwrap.layers.ttl_clamp:TTLClamp",
    "coalesce": "kvwrap.layers.coalesce.layer:Coalesce",
    "compress": "kvwrap.layers.compression.layer:Compression",
    "default_value": "kvwrap.layers.default_value:DefaultValue",
    "encrypt": "kvwrap.layers.encryption:Encryption",
    "fallback": "kvwrap.layers.fallback.layer:Fallback",
    "hash_keys": "kvwrap.layers.hashed_key:HashedKey",
    "limit_concurrency": "kvwrap.layers.concurrency_limit:ConcurrencyLimit",
    "limit_rate": "kvwrap.layers.rate_limit:RateLimit",
    "limit_size": "kvwrap.layers.limit_size:LimitSize",
    "log": "kvwrap.layers.logging:Logging",
    "prefix_collection": "kvwrap.layers.prefix_collection:PrefixCollection",
    "prefix_key": "kvwrap.layers.prefix_key:PrefixKey",
    "read_only": "kvwrap.layers.read_only:ReadOnly",
    "read_through": "kvwrap.layers.read_through.layer:ReadThrough",
    "replicate": "kvwrap.layers.replication.layer:Replication",
    "retry": "kvwrap.layers.retry:Retry",
    "route": "kvwrap.layers.routing:Routing",
    "serialize": "kvwrap.layers.serialization:Serialization",
    "shadow": "kvwrap.layers.shadow.layer:Shadow",
    "shard": "kvwrap.layers.sharding.layer:Sharding",
    "single_collection": "kvwrap.layers.single_collection:SingleCollection",
    "statistics": "kvwrap.layers.statistics.layer:Statistics",
    "timeout": "kvwrap.layers.timeout:Timeout",
    "trace": "kvwrap.layers.tracing:Tracing",
    "validate": "kvwrap.layers.validate:Validate",
    "write_behind": "kvwrap.layers.write_behind:WriteBehind",
}
"""Layer classes by the name of their builder method."""

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


def layer_class(name: str) -> Any:
    """The layer class of a builder method's name; raises `ConfigurationError` if there is none."""
    return _find("kvwrap.layers", LAYERS, name, "layer")


def store_name(cls: type) -> str | None:
    """The scheme by which `store_class` finds this class, or `None`."""
    return _name_of("kvwrap.stores", STORES, cls)


def store_names() -> list[str]:
    """The schemes that `store_class` knows."""
    return sorted({*STORES, *(point.name for point in entry_points(group="kvwrap.stores"))})


def layer_name(cls: type) -> str | None:
    """The name by which `layer_class` finds this class, or `None`."""
    return _name_of("kvwrap.layers", LAYERS, cls)


def _find(group: str, own: dict[str, str], name: str, what: str) -> Any:
    if name in own:
        return _load(own[name])
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


def _name_of(group: str, own: dict[str, str], cls: type) -> str | None:
    path = f"{cls.__module__}:{cls.__qualname__}"
    for name, known in own.items():
        if known == path:
            return name
    for point in entry_points(group=group):
        if point.value.replace(" ", "") == path:
            return point.name
    return None


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
