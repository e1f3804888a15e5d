"""The layers, stacks and stores that the contracts run over.

A new layer is one line in `LAYERS`, a new store one in `STORES`. The parameters are such
that the layer keeps all guarantees of the store (generous limits, no faults, no jitter). If
that is impossible, `exempt` names the contract tests that the layer's purpose contradicts.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kvwrap import (
    Capability,
    DynamoDBStore,
    ElasticsearchStore,
    EtcdStore,
    FileTreeStore,
    Keyring,
    LMDBStore,
    MemcachedStore,
    MemoryStore,
    MongoDBStore,
    NATSStore,
    ObjectStore,
    Passthrough,
    SQLiteStore,
    Stack,
    Store,
    adapt,
    stack,
)
from kvwrap.core.clock import Clock
from kvwrap.stores.adapted import AdaptedStore
from kvwrap.stores.key_value import KeyValueStore
from kvwrap.stores.mapping import MappingStore
from kvwrap.stores.postgresql import PostgreSQLStore
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.valkey import ValkeyStore
from kvwrap.testing.servers import (
    AzuriteServer,
    DynamoDBServer,
    EtcdServer,
    LocalServer,
    MemcachedServer,
    MongoDBServer,
    MotoServer,
    NATSServer,
    OpenSearchServer,
    PostgreSQLServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    ValkeyCluster,
    ValkeyServer,
)
from tests.buckets import azure_container, s3_bucket
from tests.stores.adapted.objects import OBJECTS

__all__ = [
    "ALIASES",
    "COMPARES_UTF16",
    "EMBEDDED",
    "LAYERS",
    "LEAVES_SOCKETS",
    "LONGEST_NAMES",
    "SLOW",
    "STACKS",
    "STORES",
    "TELLS_NO_NAMES",
    "UNDER_EVERY_LAYER",
    "Case",
    "Resources",
]


@dataclass(frozen=True)
class Case:
    """A layer or stack under test.

    Attributes:
        make: Creates the stack, with the clock for its second stores.
        lost: Capabilities that the backend has and the stack removes.
        gained: Capabilities that the stack adds to the backend's.
        writable: False if the stack refuses every write. Then only the layer contract runs.
        exempt: Names of contract tests that the layer contradicts by its purpose.
        other_values: Titles of contract values that its serializer treats differently.
    """

    make: Callable[[Clock], Stack]
    lost: frozenset[Capability] = frozenset()
    gained: frozenset[Capability] = frozenset()
    writable: bool = True
    exempt: frozenset[str] = frozenset()
    other_values: frozenset[str] = frozenset()


def _capabilities(*names: str) -> frozenset[Capability]:
    return frozenset(map(Capability, names))


def _journal() -> Path:
    """Return the path of a journal for one stack."""
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
        lambda c: (
            stack()
            .fallback(lambda: MemoryStore(clock=c), writes="both")
            .silence("lock-over-fallback")
        ),
    ),
    "hash_keys": Case(
        lambda c: stack().hash_keys(b"s" * 32, collections=True),
        lost=_capabilities("keys", "range", "collections", "watch"),
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
        lost=_capabilities("compare_and_put", "destroy", "destroy_collection", "cull"),
        writable=False,
        # It raises ReadOnlyViolation, not UnsupportedOperation.
        exempt=frozenset({"test_destroying_through_it", "test_atomic_operations_stay_atomic"}),
    ),
    "read_through": Case(lambda c: stack().read_through(lambda: MemoryStore(clock=c), ttl=60)),
    "replicate": Case(
        lambda c: stack().replicate([lambda: MemoryStore(clock=c)], read_quorum=2),
        lost=_capabilities("persistent", "shared", "native_ttl"),
        gained=_capabilities("cull"),
    ),
    "retry": Case(lambda c: stack().retry()),
    "route": Case(
        lambda c: stack().route(
            {"odd": lambda: MemoryStore(clock=c)},
            choose=lambda collection, key: "odd" if len(key) % 2 else None,
        ),
        lost=_capabilities("persistent", "shared", "native_ttl"),
        gained=_capabilities("cull"),
    ),
    "serialize": Case(lambda c: stack().serialize("msgpack"), other_values=_MSGPACK),
    "shadow": Case(lambda c: stack().shadow(lambda: MemoryStore(clock=c))),
    "shard": Case(
        lambda c: stack().shard({"b": lambda: MemoryStore(clock=c)}, name="a"),
        lost=_capabilities("persistent", "shared", "native_ttl"),
        gained=_capabilities("cull"),
    ),
    "single_collection": Case(lambda c: stack().single_collection("all")),
    "slide_ttl": Case(lambda c: stack().slide_ttl(0.001)),
    "statistics": Case(lambda c: stack().statistics()),
    "tags": Case(lambda c: stack().tags(b"s" * 16)),
    "timeout": Case(lambda c: stack().timeout(60)),
    "trace": Case(lambda c: stack().trace()),
    "validate": Case(lambda c: stack().validate(lambda value, key, collection: True)),
    "write_behind": Case(
        lambda c: stack().write_behind(_journal()),
        # Only one stack at a time may open the journal.
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
class Resources:
    """What the stores of one test are created with."""

    clock: Clock
    folder: Path
    """Where files go. It is made when a store needs it."""
    url: Callable[[type[LocalServer]], str]
    """Starts the server of a class, unless it runs already. Returns its URL."""
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:16]}")
    """A name for a namespace, table or folder that no other test uses."""


def _folder(resources: Resources) -> Path:
    resources.folder.mkdir(exist_ok=True)
    return resources.folder


def _adapted(make: Callable[[Path], Any], resources: Resources) -> Store:
    """Return a store over an object that another library makes."""
    obj = make(_folder(resources))
    store = adapt(obj, clock=resources.clock)
    if isinstance(store, AdaptedStore):
        return AdaptedStore(obj, timeout=PATIENCE, clock=resources.clock)
    return store


def _key_value(clock: Clock) -> Store:
    """Return a store without native values, whose expiry only the other library's clock knows."""
    # Late, since it takes as long as everything else here, in each process that a test starts.
    from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

    return KeyValueStore(TheirMemoryStore(), native=False, clock=clock)


def _django(resources: Resources, url: str | None) -> Store:
    """Return a store on the ORM: in a file, or on the server with this URL."""
    # Late, since the tests with another py-key-value run where Django is not.
    from tests.integrations.django import project

    if url is None:
        database = project.sqlite(_folder(resources) / "django.db")
        return project.orm_store(str(resources.folder), database, resources.clock)
    database = project.postgresql(url, resources.name)
    return project.orm_store(resources.name, database, resources.clock)


PATIENCE = 60
"""Seconds for a call to a server, on a machine that runs many tests at once."""


# One line per store, by the scheme of its URL or the adapted object. Those in `EMBEDDED` need no
# server. The contracts of layers run over those in `UNDER_EVERY_LAYER`, since a layer meets the
# others only through the primitives that the store contract covers.
STORES: dict[str, Callable[[Resources], Store]] = {
    "memory": lambda resources: MemoryStore(clock=resources.clock),
    "lmdb": lambda resources: LMDBStore(_folder(resources) / "lmdb", clock=resources.clock),
    "sqlite": lambda resources: SQLiteStore(
        _folder(resources) / "entries.db", clock=resources.clock
    ),
    # No test stops the machine, and to wait for the disk takes most of the time.
    "file-tree": lambda resources: FileTreeStore(
        _folder(resources) / "tree", durability="off", clock=resources.clock
    ),
    "dict": lambda resources: MappingStore({}, clock=resources.clock),
    "py-key-value": lambda resources: _key_value(resources.clock),
    "memcached": lambda resources: MemcachedStore(
        resources.url(MemcachedServer),
        namespace=resources.name,
        enumerate=True,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "memcached without listings": lambda resources: MemcachedStore(
        resources.url(MemcachedServer),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "dynamodb": lambda resources: DynamoDBStore(
        resources.name,
        region="eu-1",
        endpoint_url=resources.url(DynamoDBServer),
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "opensearch": lambda resources: ElasticsearchStore(
        resources.url(OpenSearchServer),
        index_prefix=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "mongodb": lambda resources: MongoDBStore(
        f"{resources.url(MongoDBServer)}/kvwrap",
        collection=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "nats": lambda resources: NATSStore(
        resources.url(NATSServer),
        bucket=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "etcd": lambda resources: EtcdStore(
        resources.url(EtcdServer),
        prefix=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "s3": lambda resources: ObjectStore(
        s3_bucket(resources.url(MotoServer)),
        prefix=resources.name,
        endpoint=resources.url(MotoServer),
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "az": lambda resources: ObjectStore(
        azure_container(resources.url(AzuriteServer)),
        prefix=resources.name,
        endpoint=resources.url(AzuriteServer),
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "redis": lambda resources: RedisStore(
        resources.url(RedisServer),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "redis+cluster": lambda resources: RedisStore(
        resources.url(RedisCluster),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "redis+sentinel": lambda resources: RedisStore(
        resources.url(RedisSentinel),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "valkey": lambda resources: ValkeyStore(
        resources.url(ValkeyServer),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "valkey+cluster": lambda resources: ValkeyStore(
        resources.url(ValkeyCluster),
        namespace=resources.name,
        timeout=PATIENCE,
        clock=resources.clock,
    ),
    "postgresql": lambda resources: PostgreSQLStore(
        resources.url(PostgreSQLServer), table=resources.name, clock=resources.clock
    ),
    "django on sqlite": lambda resources: _django(resources, None),
    "django on postgresql": lambda resources: _django(resources, resources.url(PostgreSQLServer)),
}
# An existing object of each kind that `kvwrap.adapt` knows.
STORES |= {name: partial(_adapted, make) for name, make in OBJECTS.items()}
# The name of a store's default collection, if another collection could have that name.
ALIASES = {"py-key-value": "default_collection"}
# Those whose driver leaves a socket, whose connection is cancelled, to the garbage collector.
LEAVES_SOCKETS = {"mongodb"}
# Those whose test server orders keys by UTF-16 code units, since it is written in Java.
COMPARES_UTF16 = {"mongodb"}
# Those that tell only that something has changed.
TELLS_NO_NAMES = {"sqlite"}
# Those whose test server takes milliseconds of the processor for each request: long proofs take
# a tenth of the rounds there.
SLOW = {"s3", "az", "opensearch"}
# The longest names, in characters of two bytes, of stores that hold shorter ones than the others.
LONGEST_NAMES = {"django on sqlite": 640, "django on postgresql": 640}
EMBEDDED = (
    "memory",
    "lmdb",
    "sqlite",
    "file-tree",
    "dict",
    "py-key-value",
    "django on sqlite",
    *OBJECTS,
)
UNDER_EVERY_LAYER = ("memory", "sqlite", "dict", "py-key-value", "redis")
