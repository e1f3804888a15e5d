"""kvwrap: key-value stores composed out of layers.

    store = stack().encrypt(Keyring.from_env("SESSION_KEYS")).over(MemoryStore())
    await store.put("ada", {"visits": 1}, ttl=60)
    await store.get("ada")  # {"visits": 1}, or None

    @store.cached(ttl=60)
    async def rate(currency: str) -> float: ...

In code that is not async, `with kvwrap.sync(store) as view` has the same methods. The annotations
of such objects are `Store`, `SyncStore`, `TypedStore[Model]` and `CachedFunction`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not when they are first used: that may be an `except` while the interpreter ends, when nothing
# can be imported any more.
from kvwrap.errors import (
    AccessDenied,
    CircuitOpen,
    ConfigurationError,
    CorruptEntry,
    Deadlock,
    DecryptionError,
    InvalidBatch,
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    KeyNotFound,
    KvwrapError,
    LockLost,
    LockTimeout,
    RateLimited,
    ReadOnlyViolation,
    SerializationError,
    SharedValueChanged,
    StackWarning,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from kvwrap import layers
    from kvwrap.builder import Stack, stack
    from kvwrap.config.dump import to_config
    from kvwrap.config.load import from_config, stack_from_config
    from kvwrap.config.reader import store_from_url
    from kvwrap.copying.copy import copy
    from kvwrap.copying.report import CopyReport
    from kvwrap.core.atomic import Versioned
    from kvwrap.core.cached import CachedFunction, SyncCachedFunction
    from kvwrap.core.capability import Capability
    from kvwrap.core.changes import ALL, Change, ChangeKind
    from kvwrap.core.computations import ComputationCounts
    from kvwrap.core.layer import Layer
    from kvwrap.core.lock import Lease, Lock
    from kvwrap.core.registry import as_store as adapt
    from kvwrap.core.store import Store
    from kvwrap.core.typed import TypedStore
    from kvwrap.core.watch import Watch
    from kvwrap.keyring import EnvelopeKeyring, Key, Keyring, LocalKEK
    from kvwrap.layers import *  # noqa: F403  # layers are listed there and in the builder
    from kvwrap.rewriting.rewrite import rewrite
    from kvwrap.stores.dynamodb import DynamoDBStore
    from kvwrap.stores.elasticsearch import ElasticsearchStore
    from kvwrap.stores.etcd import EtcdStore
    from kvwrap.stores.file_tree import FileTreeStore
    from kvwrap.stores.lmdb import LMDBStore
    from kvwrap.stores.memcached import MemcachedStore
    from kvwrap.stores.memory import MemoryStore
    from kvwrap.stores.mongodb import MongoDBStore
    from kvwrap.stores.nats import NATSStore
    from kvwrap.stores.null import NullStore
    from kvwrap.stores.object import ObjectStore
    from kvwrap.stores.postgresql import PostgreSQLStore
    from kvwrap.stores.redis import RedisStore
    from kvwrap.stores.sqlite import SQLiteStore
    from kvwrap.stores.valkey import ValkeyStore
    from kvwrap.views.mapping import mapping
    from kvwrap.views.sync import SyncStore, sync
    from kvwrap.views.sync_typed import SyncTypedStore
    from kvwrap.views.tuples import SyncTupleStore, TupleStore, tuples

    __all__ = [
        "ALL",
        "AccessDenied",
        "CachedFunction",
        "Capability",
        "Change",
        "ChangeKind",
        "CircuitOpen",
        "ComputationCounts",
        "ConfigurationError",
        "CopyReport",
        "CorruptEntry",
        "Deadlock",
        "DecryptionError",
        "DynamoDBStore",
        "ElasticsearchStore",
        "EnvelopeKeyring",
        "EtcdStore",
        "FileTreeStore",
        "InvalidBatch",
        "InvalidKey",
        "InvalidTTL",
        "InvalidValue",
        "Key",
        "KeyNotFound",
        "Keyring",
        "KvwrapError",
        "LMDBStore",
        "Layer",
        "Lease",
        "LocalKEK",
        "Lock",
        "LockLost",
        "LockTimeout",
        "MemcachedStore",
        "MemoryStore",
        "MongoDBStore",
        "NATSStore",
        "NullStore",
        "ObjectStore",
        "PostgreSQLStore",
        "RateLimited",
        "ReadOnlyViolation",
        "RedisStore",
        "SQLiteStore",
        "SerializationError",
        "SharedValueChanged",
        "Stack",
        "StackWarning",
        "Store",
        "StoreFull",
        "StoreTimeout",
        "StoreUnavailable",
        "SyncCachedFunction",
        "SyncStore",
        "SyncTupleStore",
        "SyncTypedStore",
        "TupleStore",
        "TypedStore",
        "UnsupportedOperation",
        "ValkeyStore",
        "ValueTooLarge",
        "Versioned",
        "Watch",
        "adapt",
        "copy",
        "from_config",
        "mapping",
        "rewrite",
        "stack",
        "stack_from_config",
        "store_from_url",
        "sync",
        "to_config",
        "tuples",
    ]
    __all__ += layers.__all__

    __version__: str
    """The version of the installed package."""
else:
    _NAMES = {
        "kvwrap.builder": "Stack stack",
        "kvwrap.config.dump": "to_config",
        "kvwrap.config.load": "from_config stack_from_config",
        "kvwrap.config.reader": "store_from_url",
        "kvwrap.copying.copy": "copy",
        "kvwrap.copying.report": "CopyReport",
        "kvwrap.core.atomic": "Versioned",
        "kvwrap.core.cached": "CachedFunction SyncCachedFunction",
        "kvwrap.core.capability": "Capability",
        "kvwrap.core.changes": "ALL Change ChangeKind",
        "kvwrap.core.computations": "ComputationCounts",
        "kvwrap.core.layer": "Layer",
        "kvwrap.core.lock": "Lease Lock",
        "kvwrap.core.registry": "adapt",
        "kvwrap.core.store": "Store",
        "kvwrap.core.typed": "TypedStore",
        "kvwrap.core.watch": "Watch",
        "kvwrap.errors": (
            "AccessDenied CircuitOpen ConfigurationError CorruptEntry Deadlock DecryptionError "
            "InvalidBatch InvalidKey InvalidTTL InvalidValue KeyNotFound KvwrapError LockLost "
            "LockTimeout RateLimited ReadOnlyViolation SerializationError SharedValueChanged "
            "StackWarning StoreFull StoreTimeout StoreUnavailable UnsupportedOperation "
            "ValueTooLarge"
        ),
        "kvwrap.keyring": "EnvelopeKeyring Key Keyring LocalKEK",
        "kvwrap.rewriting.rewrite": "rewrite",
        "kvwrap.stores.dynamodb": "DynamoDBStore",
        "kvwrap.stores.elasticsearch": "ElasticsearchStore",
        "kvwrap.stores.etcd": "EtcdStore",
        "kvwrap.stores.file_tree": "FileTreeStore",
        "kvwrap.stores.lmdb": "LMDBStore",
        "kvwrap.stores.memcached": "MemcachedStore",
        "kvwrap.stores.memory": "MemoryStore",
        "kvwrap.stores.mongodb": "MongoDBStore",
        "kvwrap.stores.nats": "NATSStore",
        "kvwrap.stores.null": "NullStore",
        "kvwrap.stores.object": "ObjectStore",
        "kvwrap.stores.postgresql": "PostgreSQLStore",
        "kvwrap.stores.redis": "RedisStore",
        "kvwrap.stores.sqlite": "SQLiteStore",
        "kvwrap.stores.valkey": "ValkeyStore",
        "kvwrap.views.mapping": "mapping",
        "kvwrap.views.sync": "SyncStore sync",
        "kvwrap.views.sync_typed": "SyncTypedStore",
        "kvwrap.views.tuples": "SyncTupleStore TupleStore tuples",
    }
    """The public names by their modules, apart from the layers."""
    _PLACES = {name: module for module, names in _NAMES.items() for name in names.split()}
    _MODULES = {"builder", "config", "copying", "core", "errors", "keyring", "layers"}
    _MODULES |= {"rewriting", "stores", "views"}

    def __getattr__(name: str) -> Any:
        """Import what has a public name when it is first used; a program uses few of them."""
        if name in _PLACES:
            found = getattr(import_module(_PLACES[name]), "as_store" if name == "adapt" else name)
        elif name in _MODULES:
            found = import_module(f"{__name__}.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            found = version(__name__)
        elif name == "__all__":
            found = [*sorted(_PLACES), *import_module(f"{__name__}.layers").__all__]
        elif name not in __getattr__("__all__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        else:
            found = getattr(import_module(f"{__name__}.layers"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES, *__getattr__("__all__"), "__version__"})
