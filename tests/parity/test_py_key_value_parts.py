"""The stores, wrappers and adapters of py-key-value one by one, and what kvwrap has for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from cryptography.fernet import Fernet
from key_value.aio import wrappers
from key_value.aio.adapters.dataclass import DataclassAdapter
from key_value.aio.adapters.pydantic import PydanticAdapter
from key_value.aio.adapters.raise_on_missing import RaiseOnMissingAdapter
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.filetree import FileTreeStore
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.stores.null import NullStore as TheirNullStore
from key_value.aio.stores.simple import SimpleStore
from key_value.aio.wrappers.compression import CompressionWrapper
from key_value.aio.wrappers.default_value import DefaultValueWrapper
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper
from key_value.aio.wrappers.fallback import FallbackWrapper
from key_value.aio.wrappers.limit_size import LimitSizeWrapper
from key_value.aio.wrappers.logging import LoggingWrapper
from key_value.aio.wrappers.passthrough_cache import PassthroughCacheWrapper
from key_value.aio.wrappers.prefix_collections import PrefixCollectionsWrapper
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from key_value.aio.wrappers.read_only import ReadOnlyWrapper
from key_value.aio.wrappers.retry import RetryWrapper
from key_value.aio.wrappers.routing import CollectionRoutingWrapper
from key_value.aio.wrappers.single_collection import SingleCollectionWrapper
from key_value.aio.wrappers.statistics import StatisticsWrapper
from key_value.aio.wrappers.timeout import TimeoutWrapper
from key_value.aio.wrappers.ttl_clamp import TTLClampWrapper
from pydantic import BaseModel

import kvwrap
from kvwrap import Keyring, MemoryStore, NullStore, Stack, Statistics, Store, stack
from tests.catalog import STORES, Resources
from tests.layers.faulty import FaultyStore
from tests.parity.test_py_key_value import LAYERS, enumerate_and_destroy, use

# -- stores: the same work over the store that kvwrap has for each ---------------------------------

THEIR_STORES = {
    "MemoryStore": "memory",
    "DiskStore": "sqlite",
    "FileTreeStore": "file-tree",
    "RedisStore": "redis",
    "ValkeyStore": "valkey",
    "DynamoDBStore": "dynamodb",
    "ElasticsearchStore": "opensearch",
    "MongoDBStore": "mongodb",
    "MemcachedStore": "memcached",
    "PostgreSQLStore": "postgresql",
    "S3Store": "s3",
}


@pytest.mark.parametrize("layers", [stack(), LAYERS], ids=["bare", "layered"])
@pytest.mark.parametrize("theirs", THEIR_STORES)
async def test_a_store_for_each_of_theirs(theirs: str, layers: Stack, resources: Resources) -> None:
    async with layers.over(STORES[THEIR_STORES[theirs]](resources)) as store:
        await use(store)
        await enumerate_and_destroy(store)


def their_disk_store(folder: Path) -> Any:
    return DiskStore(directory=folder / "disk")


def their_file_tree_store(folder: Path) -> Any:
    (folder / "tree").mkdir()
    return FileTreeStore(data_directory=folder / "tree")


@pytest.mark.filterwarnings("ignore:A configured store is unstable")
@pytest.mark.parametrize("make", [their_disk_store, their_file_tree_store])
async def test_their_stores_of_files(make: Callable[[Path], Any], tmp_path: Path) -> None:
    theirs = make(tmp_path)
    async with AsyncExitStack() as resources:
        if hasattr(theirs, "__aexit__"):  # that of trees holds nothing open
            await resources.enter_async_context(theirs)
        await use(theirs)
        await theirs.put("key", {"n": 4}, collection="before")
        async with kvwrap.adapt(theirs) as bare:
            assert await bare.get("key", collection="before") == {"n": 4}
        await theirs.delete_many(["b"], collection="c")
        async with LAYERS.over(theirs) as store:
            await use(store)
            await store.put("secret", {"text": "plaintext"})
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"plaintext" not in written


async def test_the_arguments_of_their_memory_store() -> None:
    seed = {"users": {"ada": {"n": 1}}}
    for store in (
        TheirMemoryStore(max_entries_per_collection=2, default_collection="users", seed=seed),
        MemoryStore(max_entries_per_collection=2, default_collection="users", seed=seed),
    ):
        assert await store.get("ada") == await store.get("ada", collection="users") == {"n": 1}
        for number in range(5):
            await store.put(f"k{number}", {"n": number}, collection="bounded")
        assert len(await store.keys("bounded")) == 2
        assert await store.get("ada") == {"n": 1}


@pytest.mark.filterwarnings("ignore:A configured store is unstable")
async def test_their_null_store() -> None:
    for store in (TheirNullStore(), NullStore(), kvwrap.adapt(TheirNullStore())):
        await store.put("key", {"n": 1})
        await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}])
        assert await store.get_many(["key", "a"]) == [None, None]
        assert await store.ttl("key") == (None, None)
        assert not await store.delete("key")


@pytest.mark.filterwarnings("ignore:A configured store is unstable")
@pytest.mark.parametrize("layers", [stack(), LAYERS], ids=["bare", "layered"])
async def test_their_simple_store(layers: Stack) -> None:
    async with layers.over(SimpleStore(default_collection="users")) as store:
        await use(store)


# -- wrappers: the same work through their wrapper, and through the layer that kvwrap has ----------


async def clamps(store: Any) -> None:
    for given, low, high in ((1, 40, 50), (1000, 90, 100), (None, 65, 75)):
        await store.put("key", {"n": 1}, ttl=given)
        _, seconds = await store.ttl("key")
        assert low < seconds <= high


async def bounds_sizes(store: Any) -> None:
    await store.put("key", {"text": "small"})
    with pytest.raises(Exception, match=r"max_size|maximum|EntryTooLarge"):
        await store.put("key", {"text": "x" * 1000})
    assert await store.get("key") == {"text": "small"}


async def refuses_writes(store: Any) -> None:
    for write in (store.put("key", {"n": 1}), store.delete("key"), store.delete_many(["key"])):
        with pytest.raises(Exception, match=r"(?i)read.?only|not allowed|refused|must not"):
            await write
    assert await store.get("key") is None


async def has_a_default(store: Any) -> None:
    assert await store.get("missing") == {"n": 0}
    assert await store.get_many(["missing"]) == [{"n": 0}]
    await store.put("key", {"n": 1})
    assert await store.get_many(["key", "missing"]) == [{"n": 1}, {"n": 0}]


async def holds_large_values(store: Any) -> None:
    await store.put("large", {"text": "the same words " * 500}, ttl=600)
    assert await store.get("large") == {"text": "the same words " * 500}
    await use(store)


async def routes(store: Any) -> None:
    await store.put("key", {"n": 1}, collection="sessions")
    await store.put("key", {"n": 2}, collection="users")
    assert await store.get("key", collection="sessions") == {"n": 1}
    assert await store.get("key", collection="users") == {"n": 2}
    await use(store)


@dataclass(frozen=True)
class Wrapper:
    """A wrapper of theirs, the layers of kvwrap for it, and what both do."""

    theirs: Callable[[Any], Any]
    ours: Callable[[], Stack]
    work: Callable[[Any], Awaitable[None]] = use


FERNET = Fernet(Fernet.generate_key())
WRAPPERS = {
    "CompressionWrapper": Wrapper(
        lambda store: CompressionWrapper(store, min_size_to_compress=100),
        lambda: stack().compress(min_size=100),
        holds_large_values,
    ),
    "FernetEncryptionWrapper": Wrapper(
        lambda store: FernetEncryptionWrapper(store, fernet=FERNET),
        lambda: stack().encrypt(Keyring.generate()).silence("double-encryption"),
    ),
    "TTLClampWrapper": Wrapper(
        lambda store: TTLClampWrapper(store, min_ttl=50, max_ttl=100, missing_ttl=75),
        lambda: (
            stack().clamp_ttl(minimum=50, maximum=100, default=75).silence("expiry-without-end")
        ),
        clamps,
    ),
    "StatisticsWrapper": Wrapper(StatisticsWrapper, lambda: stack().statistics()),
    "PassthroughCacheWrapper": Wrapper(
        lambda store: PassthroughCacheWrapper(
            primary_key_value=store, cache_key_value=TheirMemoryStore()
        ),
        lambda: stack().read_through(MemoryStore, ttl=60),
    ),
    "PrefixKeysWrapper": Wrapper(
        lambda store: PrefixKeysWrapper(store, prefix="p"), lambda: stack().prefix_key("p")
    ),
    "PrefixCollectionsWrapper": Wrapper(
        lambda store: PrefixCollectionsWrapper(store, prefix="p"),
        lambda: stack().prefix_collection("p"),
    ),
    "SingleCollectionWrapper": Wrapper(
        lambda store: SingleCollectionWrapper(store, single_collection="all"),
        lambda: stack().single_collection("all"),
    ),
    "LimitSizeWrapper": Wrapper(
        lambda store: LimitSizeWrapper(store, max_size=300),
        lambda: stack().limit_size(300),
        bounds_sizes,
    ),
    "LoggingWrapper": Wrapper(LoggingWrapper, lambda: stack().log()),
    "ReadOnlyWrapper": Wrapper(ReadOnlyWrapper, lambda: stack().read_only(), refuses_writes),
    "RetryWrapper": Wrapper(RetryWrapper, lambda: stack().retry()),
    "TimeoutWrapper": Wrapper(
        lambda store: TimeoutWrapper(store, timeout=60.0), lambda: stack().timeout(60)
    ),
    "DefaultValueWrapper": Wrapper(
        lambda store: DefaultValueWrapper(store, default_value={"n": 0}),
        lambda: stack().default_value({"n": 0}),
        has_a_default,
    ),
    "FallbackWrapper": Wrapper(
        lambda store: FallbackWrapper(store, TheirMemoryStore(), write_to_fallback=True),
        lambda: stack().fallback(MemoryStore, writes="both"),
    ),
    "CollectionRoutingWrapper": Wrapper(
        lambda store: CollectionRoutingWrapper({"sessions": TheirMemoryStore()}, store),
        lambda: stack().route({"sessions": MemoryStore}).silence("layer-under-one-store"),
        routes,
    ),
}


def test_no_wrapper_is_missing() -> None:
    import pkgutil

    modules = {each.name.replace("_", "") for each in pkgutil.iter_modules(wrappers.__path__)}
    found = {name.lower().removesuffix("wrapper") for name in WRAPPERS}
    found = {name.removeprefix("fernet").removeprefix("collection") for name in found}
    assert modules - {"base"} <= found


@pytest_asyncio.fixture
async def backend(make_stack: Callable[[], Store]) -> AsyncIterator[Store]:
    """A store over a real backend, bare or under layers."""
    async with make_stack() as store:
        yield store
        await store.destroy()


@pytest.mark.parametrize("name", WRAPPERS)
async def test_a_layer_for_each_of_their_wrappers(name: str, backend: Store) -> None:
    async with WRAPPERS[name].ours().over(backend) as store:
        await WRAPPERS[name].work(store)


@pytest.mark.parametrize("name", WRAPPERS)
async def test_that_layer_over_their_store(name: str) -> None:
    async with WRAPPERS[name].ours().over(TheirMemoryStore()) as store:
        await WRAPPERS[name].work(store)


@pytest.mark.parametrize("name", WRAPPERS)
async def test_their_wrapper_over_either_store(name: str) -> None:
    for store in (TheirMemoryStore(), MemoryStore()):
        await WRAPPERS[name].work(WRAPPERS[name].theirs(store))


@pytest.mark.parametrize("name", WRAPPERS)
async def test_layers_over_their_wrapper(name: str) -> None:
    wrapper = WRAPPERS[name]
    async with stack().statistics().over(wrapper.theirs(TheirMemoryStore())) as store:
        await wrapper.work(store)


async def test_statistics_count(backend: Store) -> None:
    async with stack().statistics().over(backend) as store:
        await store.put("key", {"n": 1}, collection="c")
        await store.get_many(["key", "missing"], collection="c")
        counts = store.find(Statistics).snapshot().reads
        assert (counts.hits, counts.misses) == (1, 1)


@pytest.mark.parametrize("values", [False, True])
async def test_logs_have_values_only_if_asked(
    values: bool, backend: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kvwrap"):
        layers = stack().log(level=logging.INFO, values=values).silence("log-of-values")
        async with layers.over(backend) as store:
            await store.put("key", {"text": "hunter2"})
    assert "key" in caplog.text
    assert ("hunter2" in caplog.text) is values


async def test_a_fallback_answers_when_the_first_fails(backend: Store) -> None:
    down = FaultyStore()
    down.down = True
    await backend.put("key", {"n": 1})
    async with stack().fallback(backend).over(down) as store:
        assert await store.get("key") == {"n": 1}


async def test_failures_are_retried() -> None:
    faulty = FaultyStore()
    faulty.down = True

    async def mend() -> None:
        while not faulty.calls:
            await asyncio.sleep(0)
        faulty.down = False

    mending = asyncio.create_task(mend())
    async with stack().retry(10, wait=0.01).over(faulty) as store:
        await store.put("key", {"n": 1})
        assert await store.get("key") == {"n": 1}
    await mending


async def test_a_call_that_hangs_ends_in_time() -> None:
    faulty = FaultyStore()
    faulty.gate.clear()
    async with stack().timeout(0.05).over(faulty) as store:
        with pytest.raises(TimeoutError):
            await store.get("key")


@pytest.mark.parametrize("name", ["../up", "a b", "ä/ö", "x" * 400, "CON", "\0", "a__b", "Key"])
async def test_no_name_needs_sanitization(name: str, backend: Store) -> None:
    """Names that differ stay apart, and listings return them as they are."""
    await backend.put(name, {"n": 1}, collection=name)
    await backend.put(name.upper() + "?", {"n": 2}, collection=name)
    assert await backend.get(name, collection=name) == {"n": 1}
    assert sorted(await backend.keys(name)) == sorted([name, name.upper() + "?"])
    assert await backend.collections() == [name]


async def test_a_ready_client_is_taken_and_left_open(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        async with LAYERS.over(kvwrap.RedisStore(client=client, namespace="parity")) as store:
            await use(store)
            assert await store.destroy()
        assert await client.ping()


# -- adapters -------------------------------------------------------------------------------------


class User(BaseModel):
    name: str


@dataclass
class Point:
    x: int


async def test_models(backend: Store) -> None:
    for model, value, adapter in (
        (User, User(name="Ada"), PydanticAdapter),
        (Point, Point(x=5), DataclassAdapter),
    ):
        typed = backend.typed(model)
        await typed.put("key", value)
        assert await typed.get("key") == value
        assert await typed.get("missing") is None
        theirs = adapter(key_value=backend, pydantic_model=model) if model is User else None
        theirs = theirs or adapter(key_value=backend, dataclass_type=model)
        assert await theirs.get("key") == value  # it reads what kvwrap wrote
        await theirs.put("key", value)
        assert await typed.get("key") == value


async def test_raising_on_missing(backend: Store) -> None:
    with pytest.raises(KeyError):
        await backend.require("missing")
    theirs = RaiseOnMissingAdapter(key_value=backend)
    with pytest.raises(Exception, match="missing"):
        await theirs.get("missing", raise_on_missing=True)
