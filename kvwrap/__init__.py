"""kvwrap: key-value stores composed out of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvwrap import layers
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
from kvwrap.keyring import EnvelopeKeyring, Key, Keyring, LocalKEK
from kvwrap.layers import *  # noqa: F403  # layers are listed there and in the builder
from kvwrap.rewriting.rewrite import rewrite
from kvwrap.stores.memory import MemoryStore
from kvwrap.stores.null import NullStore
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.views.mapping import mapping
from kvwrap.views.sync import sync

__all__ = [
    "AccessDenied",
    "Capability",
    "CircuitOpen",
    "ConfigurationError",
    "CorruptEntry",
    "Deadlock",
    "DecryptionError",
    "EnvelopeKeyring",
    "InvalidBatch",
    "InvalidKey",
    "InvalidTTL",
    "InvalidValue",
    "Key",
    "KeyNotFound",
    "Keyring",
    "KvwrapError",
    "Layer",
    "LocalKEK",
    "MemoryStore",
    "NullStore",
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
    "UnsupportedOperation",
    "ValueTooLarge",
    "Versioned",
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
__all__ += layers.__all__

if TYPE_CHECKING:
    __version__: str
    """The version of the installed package."""
else:

    def __getattr__(name: str) -> str:
        """Read `__version__` from the package's metadata when it is first used."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Imported late: `importlib.metadata` takes about an eighth of the import of kvwrap.
        from importlib.metadata import version

        globals()[name] = version(__name__)
        return globals()[name]
