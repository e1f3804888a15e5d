"""kvwrap: key-value stores composed out of layers."""

from __future__ import annotations

from kvwrap.builder import Stack, stack
from kvwrap.config.dump import to_config
from kvwrap.config.load import from_config, stack_from_config
from kvwrap.config.reader import store_from_url
from kvwrap.core.atomic import Versioned
from kvwrap.core.capability import Capability
from kvwrap.core.layer import Layer
from kvwrap.core.registry import as_store as adapt
from kvwrap.core.store import Store
from kvwrap.errors import (
    CircuitOpen,
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    InvalidBatch,
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    KeyNotFound,
    KvwrapError,
    RateLimited,
    ReadOnlyViolation,
    SerializationError,
    StackWarning,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
)
from kvwrap.keyring import EnvelopeKeyring, Key, Keyring, LocalKEK
from kvwrap.layers.chaos import Chaos
from kvwrap.layers.circuit_breaker import CircuitBreaker
from kvwrap.layers.coalesce import Coalesce
from kvwrap.layers.compression import Compression
from kvwrap.layers.concurrency_limit import ConcurrencyLimit
from kvwrap.layers.default_value import DefaultValue
from kvwrap.layers.encryption import Encryption
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.hashed_key import HashedKey
from kvwrap.layers.limit_size import LimitSize
from kvwrap.layers.logging import Logging
from kvwrap.layers.passthrough import Passthrough
from kvwrap.layers.prefix_collection import PrefixCollection
from kvwrap.layers.prefix_key import PrefixKey
from kvwrap.layers.rate_limit import RateLimit
from kvwrap.layers.read_only import ReadOnly
from kvwrap.layers.read_through import ReadThrough
from kvwrap.layers.replication import Replication
from kvwrap.layers.retry import Retry
from kvwrap.layers.routing import Routing
from kvwrap.layers.serialization import Serialization
from kvwrap.layers.shadow import Shadow
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.single_collection import SingleCollection
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.timeout import Timeout
from kvwrap.layers.tracing import Tracing
from kvwrap.layers.ttl_clamp import TTLClamp
from kvwrap.layers.validate import Validate
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.rewriting.rewrite import rewrite
from kvwrap.stores.memory import MemoryStore
from kvwrap.stores.null import NullStore
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.views.mapping import mapping
from kvwrap.views.sync import sync

__all__ = [
    "Capability",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpen",
    "Coalesce",
    "Compression",
    "ConcurrencyLimit",
    "ConfigurationError",
    "CorruptEntry",
    "DecryptionError",
    "DefaultValue",
    "Encryption",
    "EnvelopeKeyring",
    "Fallback",
    "HashedKey",
    "InvalidBatch",
    "InvalidKey",
    "InvalidTTL",
    "InvalidValue",
    "Key",
    "KeyNotFound",
    "Keyring",
    "KvwrapError",
    "Layer",
    "LimitSize",
    "LocalKEK",
    "Logging",
    "MemoryStore",
    "NullStore",
    "Passthrough",
    "PrefixCollection",
    "PrefixKey",
    "RateLimit",
    "RateLimited",
    "ReadOnly",
    "ReadOnlyViolation",
    "ReadThrough",
    "RedisStore",
    "Replication",
    "Retry",
    "Routing",
    "SQLiteStore",
    "Serialization",
    "SerializationError",
    "Shadow",
    "Sharding",
    "SingleCollection",
    "Stack",
    "StackWarning",
    "Statistics",
    "Store",
    "StoreFull",
    "StoreTimeout",
    "StoreUnavailable",
    "TTLClamp",
    "Timeout",
    "Tracing",
    "UnsupportedOperation",
    "Validate",
    "ValueTooLarge",
    "Versioned",
    "WriteBehind",
    "adapt",
    "from_config",
    "mapping",
    "rewrite",
    "stack",
    "stack_from_config",
    "store_from_url",
    "sync",
    "to_config",
]
