"""The registry: stores, layers and adapters by name.

The tables of stores and adapters are data: a module is imported when it is used. The table of
layers is the builder's (`kvwrap.builder.LAYERS`), which is passed in. Stores and layers of other
packages join through the entry-point groups `kvwrap.stores` (by the scheme of their URL) and
`kvwrap.layers`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kvwrap.core.store import Store
from kvwrap.core.validation import has_method, suggest
from kvwrap.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = {
    "az": "kvwrap.stores.object.store:ObjectStore",
    "dynamodb": "kvwrap.stores.dynamodb.store:DynamoDBStore",
    "etcd": "kvwrap.stores.etcd.store:EtcdStore",
    "elasticsearch": "kvwrap.stores.elasticsearch.store:ElasticsearchStore",
    "file-tree": "kvwrap.stores.file_tree.store:FileTreeStore",
    "lmdb": "kvwrap.stores.lmdb.store:LMDBStore",
    "memcached": "kvwrap.stores.memcached.store:MemcachedStore",
    "memory": "kvwrap.stores.memory.store:MemoryStore",
    "mongodb": "kvwrap.stores.mongodb.store:MongoDBStore",
    "mongodb+srv": "kvwrap.stores.mongodb.store:MongoDBStore",
    "nats": "kvwrap.stores.nats.store:NATSStore",
    "null": "kvwrap.stores.null:NullStore",
    "opensearch": "kvwrap.stores.elasticsearch.store:ElasticsearchStore",
    "postgresql": "kvwrap.stores.postgresql.store:PostgreSQLStore",
    "redis": "kvwrap.stores.redis.store:RedisStore",
    "redis+cluster": "kvwrap.stores.redis.store:RedisStore",
    "redis+sentinel": "kvwrap.stores.redis.store:RedisStore",
    "rediss": "kvwrap.stores.redis.store:RedisStore",
    "s3": "kvwrap.stores.object.store:ObjectStore",
    "sqlite": "kvwrap.stores.sqlite.store:SQLiteStore",
    "unix": "kvwrap.stores.redis.store:RedisStore",
    "valkey": "kvwrap.stores.valkey:ValkeyStore",
    "valkey+cluster": "kvwrap.stores.valkey:ValkeyStore",
    "valkey+sentinel": "kvwrap.stores.valkey:ValkeyStore",
    "valkeys": "kvwrap.stores.valkey:ValkeyStore",
}
"""Store classes by the scheme of their URL."""

NEAREST = {
    "blob": "az",
    "cockroachdb": "postgresql",
    "dict": "memory",
    "disk": "sqlite",
    "dragonfly": "redis",
    "es": "elasticsearch",
    "keydb": "redis",
    "mariadb": "postgresql",
    "minio": "s3",
    "mysql": "postgresql",
    "rocksdb": "lmdb",
}
"""Schemes of backends for which there is no store, or by which others call one, and the scheme of
the store that comes nearest; only those for which the spelling leads elsewhere."""

ADAPTERS = (
    "kvwrap.stores.key_value.store:adapted",
    "kvwrap.stores.mapping:adapted",
    "kvwrap.stores.adapted.store:adapted",
)
"""Functions that return a store for an object of their kind, with the given options, or None.
They are called in this order."""

CLIENTS = {
    "aiomcache": "MemcachedStore(client=...)",
    "lmdb": "LMDBStore(client=...)",
    "asyncpg": "PostgreSQLStore(client=...)",
    "redis.asyncio": "RedisStore(client=...)",
    "redis": "RedisStore(client=redis.asyncio.Redis(...)), as kvwrap needs the asyncio client",
    "pymongo": "MongoDBStore(client=AsyncMongoClient(...))",
    "nats.aio": "NATSStore(client=...)",
    "grpclib": "EtcdStore(client=...)",
    "elasticsearch": "ElasticsearchStore(client=AsyncElasticsearch(...))",
    "opensearchpy": "ElasticsearchStore(client=AsyncOpenSearch(...))",
    "sqlite3": "SQLiteStore(path)",
    "pathlib": "SQLiteStore(path) or FileTreeStore(folder)",
}
"""The stores to use instead of another object, by the module of its class or a parent of it."""


def entry_points(*, group: str) -> Iterable[EntryPoint]:
    """Return the entry points of other packages in this group."""
    from importlib.metadata import entry_points as read  # slow to import, and rarely needed

    return read(group=group)


def as_store(obj: Any, **options: Any) -> Store:
    """Return the object if it is a store, else a store that keeps its entries in the object.

    Args:
        obj: A store, or an object for one of the adapters.
        options: Further arguments for the adapter's class, such as `raw=True`.

    Raises:
        ConfigurationError: No adapter knows objects of this kind.
    """
    if isinstance(obj, Store):
        if options:
            raise ConfigurationError(
                f"options can be given for an adapted object only; got a {type(obj).__name__}, "
                "which is a store: pass them to its constructor"
            )
        return obj
    if _client_store(obj) is None and not has_method(obj, "over"):
        for path in ADAPTERS:
            store: Store | None = _load(path)(obj, **options)
            if store is not None:
                return store
    raise ConfigurationError(f"expected a store, got {_describe(obj)}")


def _client_store(obj: Any) -> str | None:
    """Return what to use instead of a driver's client, which may have `get` and `set` too."""
    for cls in type(obj).__mro__:
        for known, store in CLIENTS.items():
            if cls.__module__ == known or cls.__module__.startswith(f"{known}."):
                return f"a {cls.__module__}.{cls.__qualname__}: use {store}"
    return None


def _describe(obj: Any) -> str:
    """Return what an object is that is not a store, and what to write instead."""
    if isinstance(obj, type):
        return f"the class {obj.__name__}: did you mean {obj.__name__}()?"
    name = type(obj).__name__
    if isinstance(obj, str):
        # The URL is not shown, because it may have a password.
        scheme, separator, _ = obj.partition("://")
        url = f"{scheme}://..." if separator and scheme in STORES else "sqlite:///app.db"
        return f"a str: for a URL, use store_from_url({url!r})"
    if has_method(obj, "over"):
        return f"a {name}: put it over a store first, with .over(MemoryStore())"
    if inspect.isroutine(obj):
        return "a function: call it, and pass the store that it returns"
    return _client_store(obj) or (
        f"{name}: it must be a store of kvwrap, an object with the methods of the AsyncKeyValue "
        "protocol, a mutable mapping, a cache or store of a library that kvwrap.adapt knows, or "
        "an object with the methods get(key) and set(key, value)"
    )


def store_class(scheme: str) -> type[Store]:
    """Return the class that opens URLs of this scheme.

    Raises:
        ConfigurationError: No store has this scheme.
    """
    cls: type[Store] = _find("kvwrap.stores", STORES, scheme, "URL scheme")
    return cls


def layer_class(name: str, own: Mapping[str, type]) -> Any:
    """Return the layer class of this name, from kvwrap's `own` or another package.

    Raises:
        ConfigurationError: No layer has this name.
    """
    return _find("kvwrap.layers", own, name, "layer")


def store_name(cls: type) -> str | None:
    """Return the scheme by which `store_class` finds this class, or None."""
    return _name_of("kvwrap.stores", STORES, cls)


def store_names() -> list[str]:
    """Return the schemes that `store_class` knows."""
    return sorted({*STORES, *(point.name for point in entry_points(group="kvwrap.stores"))})


def layer_name(cls: type, own: Mapping[str, type]) -> str | None:
    """Return the name by which `layer_class` finds this class, or None."""
    return _name_of("kvwrap.layers", own, cls)


def _find(group: str, own: Mapping[str, str | type], name: str, kind: str) -> Any:
    if name in own:
        known = own[name]
        return _load(known) if isinstance(known, str) else known
    others = {point.name: point for point in entry_points(group=group)}
    if name in others:
        try:
            return others[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the {kind} {name!r} of another package ({others[name].value}) cannot be loaded: "
                f"{error}"
            ) from error
    raise ConfigurationError(f"no {kind} is called {name!r}: {_suggest(name, own, others)}")


def _suggest(name: str, own: Mapping[str, str | type], others: Mapping[str, Any]) -> str:
    """Return a hint for an unknown name, which may be that of a class or another backend."""
    wanted = name.lower()
    of_class = [
        own_name
        for own_name, known in own.items()
        if wanted == (known.partition(":")[2] if isinstance(known, str) else known.__name__).lower()
    ]
    if of_class:
        return f"the name of that class is {' or '.join(map(repr, of_class))}"
    if (nearest := NEAREST.get(wanted)) in own:
        return f"the nearest is {nearest!r}"
    return suggest(wanted, {*own, *others})


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
