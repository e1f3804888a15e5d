"""The class of every layer; each is in a module or package of its own."""

# A new layer is listed here, and by its method in `kvwrap.builder`.
from __future__ import annotations

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
from kvwrap.layers.sliding_ttl import SlidingTTL
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.tags import Tags
from kvwrap.layers.timeout import Timeout
from kvwrap.layers.tracing import Tracing
from kvwrap.layers.ttl_clamp import TTLClamp
from kvwrap.layers.validate import Validate
from kvwrap.layers.write_behind import WriteBehind

__all__ = [
    "Chaos",
    "CircuitBreaker",
    "Coalesce",
    "Compression",
    "ConcurrencyLimit",
    "DefaultValue",
    "Encryption",
    "Fallback",
    "HashedKey",
    "LimitSize",
    "Logging",
    "Passthrough",
    "PrefixCollection",
    "PrefixKey",
    "RateLimit",
    "ReadOnly",
    "ReadThrough",
    "Replication",
    "Retry",
    "Routing",
    "Serialization",
    "Shadow",
    "Sharding",
    "SingleCollection",
    "SlidingTTL",
    "Statistics",
    "TTLClamp",
    "Tags",
    "Timeout",
    "Tracing",
    "Validate",
    "WriteBehind",
]
