"""kvwrap: key-value stores composed out of layers."""

from __future__ import annotations

from kvwrap.core.capability import Capability
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
from kvwrap.layers.encryption import Encryption
from kvwrap.layers.passthrough import Passthrough
from kvwrap.layers.prefix_collection import PrefixCollection
from kvwrap.layers.routing import Routing
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.ttl_clamp import TTLClamp
from kvwrap.stack import Stack, stack
from kvwrap.stores.memory import MemoryStore
from kvwrap.stores.null import NullStore
from kvwrap.stores.sqlite import SQLiteStore

__all__ = [
    "Capability",
    "CircuitOpen",
    "ConfigurationError",
    "CorruptEntry",
    "DecryptionError",
    "Encryption",
    "EnvelopeKeyring",
    "InvalidBatch",
    "InvalidKey",
    "InvalidTTL",
    "InvalidValue",
    "Key",
    "KeyNotFound",
    "Keyring",
    "KvwrapError",
    "LocalKEK",
    "MemoryStore",
    "NullStore",
    "Passthrough",
    "PrefixCollection",
    "RateLimited",
    "ReadOnlyViolation",
    "Routing",
    "SQLiteStore",
    "SerializationError",
    "Sharding",
    "Stack",
    "StackWarning",
    "Statistics",
    "Store",
    "StoreFull",
    "StoreTimeout",
    "StoreUnavailable",
    "TTLClamp",
    "UnsupportedOperation",
    "ValueTooLarge",
    "adapt",
    "stack",
]
