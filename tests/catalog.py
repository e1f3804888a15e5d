"""What the contracts run over: every layer, several whole stacks, every store.

A new layer is one line in `LAYERS`, a new store one in `STORES`. The parameters are such
that the layer leaves the store's promises as they are (generous limits, no faults, no
jitter); where that cannot be, `exempt` names the contract's tests that the layer's very
purpose contradicts.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

from kvwrap import (
    Capability,
    Keyring,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    Stack,
    Store,
    stack,
)
from kvwrap.core.clock import Clock
from kvwrap.stores.key_value import KeyValueStore
from kvwrap.stores.mapping import MappingStore
from kvwrap.stores.redis import RedisStore

__all__ = ["ALIASES", "EMBEDDED", "LAYERS", "STACKS", "STORES", "Case", "Place"]


@dataclass(frozen=True)
class Case:
    """A layer or stack under test.

    Attributes:
        make: The stack, given the clock that second stores need too.
        lost: Capabilities that the backend has and this takes away.
        gained: Capabilities that this adds to the backend's.
        writable: False for what refuses every write: only the layer contract runs over it.
        exempt: Names of contract tests that this layer contradicts by its purpose.
        other_values: Titles of the contract's values that another serializer treats otherwise.
    """

    make: Callable[[Clock], Stack]
    lost: frozenset[Capability] = frozenset()
    gained: frozenset[Capability] = frozenset()
    writable: bool = True
    exempt: frozenset[str] = frozenset()
    other_values: frozenset[str] = frozenset()


def _lost(*names: str) -> frozenset[Capability]:
    return frozenset(map(Capability, names))


def _journal() -> Path:
    """A journal for one stack."""
    folder = tempfile.mkdtemp(prefix="kvwrap-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "journal"


_MSGPACK = frozenset({"bytes", "integer over 64 bits", "negative integer over 64 bits"})


# One line per layer, by its builder method, alphabetical. `c` is the clock.
LAYERS: dict[str, Case] = {
    "chaos": Case(lambda c: stack().chaos().silence("chaos-over-real-data")),
    "circuit_breaker": Case(lambda c: stack().circuit_breaker()),
    "clamp_ttl": Case(lambda c: stack().clamp_ttl(minimum=0.001).silence("expiry-without-end")),
    "coalesce": Case(lambda c: stack().coalesce()),
    "compress": Case(lambda c: stack().compress(min_size=0, dictionaries=True)),
    "default_value": Case(lambda c: stack().default_value(0, collections=["counts"])),
    "encrypt": Case(lambda c: stack().encrypt(Keyring({"k": b"k" * 32}))),
    "fallback": Case(
        lambda c: stack().fallback(lambda: MemoryStore(clock=c), writes="both"),
    ),
    "hash_keys": Case(
        lambda c: stack().hash_keys(b"s" * 32, collections=True),
        lost=_lost("keys", "range", "collections"),
    ),
    "limit_concurrency": Case(lambda c: stack().limit_concurrency(1000)),
    "limit_rate": Case(lambda c: stack().limit_rate(1_000_000)),
    "limit_size": Case(lambda c: stack().limit_size(10_000_000)),
    "log": Case(lambda c: stack().log()),
    "passthrough": Case(lambda c: stack().layer(Passthrough())),
    "prefix_collection": Case(lambda c: stack().prefix_collection("app-")),
    "prefix_key": Case(lambda c: stack().prefix_key("app-")),
    "read_only": Case(
        lambda c: stack().read_only(),
        lost=_lost("compare_and_put", "destroy", "destroy_collection", "cull"),
        writable=False,
        # It says that it only reads, rather than that it cannot.
        exempt=frozenset({"test_destroying_through_it", "test_atomic_operations_stay_atomic"}),
    ),
    "read_through": Case(lambda c: stack().read_through(lambda: MemoryStore(clock=c), ttl=60)),
    "replicate": Case(
        lambda c: stack().replicate([lambda: MemoryStore(clock=c)], read_quorum=2),
        lost=_lost("persistent", "shared", "native_ttl"),
        gained=_lost("cull"),
    ),
    "retry": Case(lambda c: stack().retry()),
    "route": Case(
        lambda c: stack().route(
            {"odd": lambda: MemoryStore(clock=c)},
            choose=lambda collection, key: "odd" if len(key) % 2 else None,
        ),
        lost=_lost("persistent", "shared", "native_ttl"),
        gained=_lost("cull"),
    ),
    "serialize": Case(lambda c: stack().serialize("msgpack"), other_values=_MSGPACK),
    "shadow": Case(lambda c: stack().shadow(lambda: MemoryStore(clock=c))),
    "shard": Case(
        lambda c: stack().shard({"b": lambda: MemoryStore(clock=c)}, name="a"),
        lost=_lost("persistent", "shared", "native_ttl"),
        gained=_lost("cull"),
    ),
    "single_collection": Case(lambda c: stack().single_collection("all")),
    "statistics": Case(lambda c: stack().statistics()),
    "timeout": Case(lambda c: stack().timeout(60)),
    "trace": Case(lambda c: stack().trace()),
    "validate": Case(lambda c: stack().validate(lambda value, key, collection: True)),
    "write_behind": Case(
        lambda c: stack().write_behind(_journal()),
        # One stack at a time may have the journal open.
        exempt=frozenset({"test_one_description_over_two_stores_shares_no_state"}),
    ),
}

# Several layers at once, in the orders that users would write.
STACKS: dict[str, Case] = {
    "names_and_bytes": Case(
        lambda c: (
            stack()
            .limit_size(10_000_000)
            .prefix_key("mine/")
            .single_collection("all")
            .compress(min_size=0, dictionaries=True)
            .encrypt(Keyring({"k": b"k" * 32}))
        )
    ),
    "resilience": Case(
        lambda c: (
            stack()
            .log()
            .trace()
            .retry()
            .limit_concurrency(1000)
            .limit_rate(1_000_000)
            .circuit_breaker()
            .timeout(60)
        )
    ),
    "two_prefixes": Case(lambda c: stack().prefix_collection("a").prefix_collection("b")),
}


@dataclass(frozen=True)
class Place:
    """What a store needs to be made for one test."""

    clock: Clock
    folder: Path
    redis_url: Callable[[], str]


def _key_value(clock: Clock) -> Store:
    """Not as their native values, whose ends only their own clock knows."""
    return KeyValueStore(TheirMemoryStore(), native=False, clock=clock)


# One line per store. Those in `EMBEDDED` need no server.
STORES: dict[str, Callable[[Place], Store]] = {
    "memory": lambda place: MemoryStore(clock=place.clock),
    "sqlite": lambda place: SQLiteStore(place.folder / "entries.db", clock=place.clock),
    "dict": lambda place: MappingStore({}, clock=place.clock),
    "py-key-value": lambda place: _key_value(place.clock),
    "redis": lambda place: RedisStore(place.redis_url(), clock=place.clock),
}
# What a store calls its default collection, where it has a name that others could use.
ALIASES = {"py-key-value": "default_collection"}
EMBEDDED = ("memory", "sqlite", "dict", "py-key-value")
