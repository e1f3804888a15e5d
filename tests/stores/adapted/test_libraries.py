"""Each library's own values and methods, beside what kvwrap puts into its object."""

from __future__ import annotations

import datetime
import json
import sqlite3
import warnings
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import CorruptEntry, Keyring, Stack, Store, StoreUnavailable, adapt, stack
from tests.stores.adapted import objects
from tests.stores.adapted.objects import OBJECTS

LAYERS = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))


@pytest_asyncio.fixture(params=[name for name in OBJECTS if name != "cachetools"])
async def encrypted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with LAYERS.over(adapt(OBJECTS[request.param](tmp_path), timeout=60)) as store:
        yield store


async def test_an_encrypted_stack_over_every_object(encrypted: Store) -> None:
    await encrypted.put_many(["a", "b/c"], [{"x": [1, None]}, "text"], ttl=1000, collection="c")
    assert await encrypted.get_many(["a", "b/c"], collection="c") == [{"x": [1, None]}, "text"]
    assert (await encrypted.ttl("a", collection="c"))[1] == pytest.approx(1000, abs=100)
    assert await encrypted.delete("a", collection="c") is True
    assert await encrypted.get("a", collection="c") is None


# -- caches ---------------------------------------------------------------------------------------


async def test_a_cache_of_django(tmp_path: Path) -> None:
    cache = objects.make_django(tmp_path)
    cache.set("theirs", {"x": 1}, timeout=None)
    async with adapt(cache, raw=True) as store:
        assert await store.get("theirs") == {"x": 1}
        await store.put("mine", [1, 2], ttl=500)
        assert cache.get("mine") == [1, 2]
        await store.put("@at", 1)
        assert cache.get("@:@at") == 1
    async with adapt(cache) as store:
        with pytest.raises(CorruptEntry):
            await store.put("theirs", 1)
        with warnings.catch_warnings(record=True) as caught:
            await store.put("a key with spaces, and over 250 characters: " + "x" * 300, 1)
        assert not caught
    assert cache.get("theirs") == {"x": 1}


async def test_a_cache_of_django_gets_the_lifetime(tmp_path: Path) -> None:
    cache = objects.make_django(tmp_path)
    given: list[Any] = []
    real = cache.set_many
    cache.set_many = lambda data, timeout: given.append(timeout) or real(data, timeout=timeout)
    async with adapt(cache) as store:
        await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=[99.5, None, 1e300])
    assert given == [100, None]


async def test_a_cache_of_django_that_refuses_a_value_is_an_error(tmp_path: Path) -> None:
    cache = objects.make_django(tmp_path)
    cache.set_many = lambda data, timeout: list(data)
    async with adapt(cache) as store:
        with pytest.raises(StoreUnavailable):
            await store.put("k", 1)


async def test_a_cache_of_cachelib(tmp_path: Path) -> None:
    from cachelib import SimpleCache

    cache = SimpleCache(default_timeout=1)
    cache.set("theirs", ["x"], timeout=0)
    async with adapt(cache, raw=True) as store:
        assert await store.get("theirs") == ["x"]
        await store.put_many(["for good", "ends"], [1, 2], ttl=[None, 500])
    assert cache.get("for good") == 1
    cache.set = lambda *args, **options: False
    async with adapt(cache) as store:
        with pytest.raises(StoreUnavailable):
            await store.put("k", 1)


@pytest.mark.parametrize("name", ["NullSerializer", "JsonSerializer", "PickleSerializer"])
async def test_a_cache_of_aiocache_with_every_serializer(name: str) -> None:
    import aiocache.serializers

    cache = aiocache.SimpleMemoryCache(serializer=getattr(aiocache.serializers, name)())
    title = "text" if name == "JsonSerializer" else "bytes"
    async with LAYERS.over(cache) as store:
        assert f"entries as {title}," in store.explain()
        await store.put("k", {"x": 1}, ttl=100)
        assert await store.get("k") == {"x": 1}
    await cache.set("theirs", "text")
    async with adapt(cache, raw=True) as raw:
        assert await raw.get("theirs") == "text"
        await raw.put("mine", "text")
    assert await cache.get("mine") == "text"


async def test_a_cache_of_cashews() -> None:
    from cashews import Cache

    cache = Cache()
    cache.setup("mem://?check_interval=0")
    await cache.set("theirs", {"x": 1}, expire=500)
    await cache.incr_bits("bits", 0)
    async with adapt(cache, raw=True) as store:
        assert await store.ttl("theirs") == ({"x": 1}, pytest.approx(500, abs=60))
        await store.put("mine", 5, ttl=500)
        assert await store.keys() == ["mine", "theirs"]
        with pytest.raises(CorruptEntry):
            await store.get_many(["mine", "bits"])
    assert await cache.get("mine") == 5
    assert await cache.get_expire("mine") > 0
    await cache.close()


async def test_a_fanout_cache_of_diskcache(tmp_path: Path) -> None:
    import diskcache

    cache = diskcache.FanoutCache(str(tmp_path / "fanout"), shards=2)
    async with LAYERS.over(adapt(cache, timeout=60)) as store:
        assert await store.increment("n", ttl=500) == 1
        assert await store.increment("n") == 2
        assert await store.keys() == ["n"]
    cache.close()


# -- stores ---------------------------------------------------------------------------------------


async def test_a_table_of_keyvalue_sqlite(tmp_path: Path) -> None:
    table = objects.make_keyvalue_sqlite(tmp_path)
    table.set("theirs", [1, {"x": None}])
    async with adapt(table, raw=True, timeout=60) as store:
        assert await store.get("theirs") == [1, {"x": None}]
        await store.put("mine", "text")
        assert await store.keys() == ["mine", "theirs"]
        await store.put("ends", 1, ttl=500)
        assert (await store.ttl("ends"))[1] == pytest.approx(500, abs=60)
    assert table.get("mine") == "text"
    assert set(table.get("ends")) == {"kvwrap"}


async def test_a_store_backend_of_great_expectations_in_memory() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from great_expectations.data_context.store.in_memory_store_backend import (
            InMemoryStoreBackend,
        )
    backend = InMemoryStoreBackend()
    identity = backend.store_backend_id
    backend.set(("suites", "theirs"), json.dumps({"x": 1}))
    async with adapt(backend, namespace=("suites",), raw=True) as store:
        assert await store.get("theirs") == '{"x": 1}'
        await store.put("mine", "text")
        assert await store.keys() == ["mine", "theirs"]
        assert await store.destroy() is True
    assert backend.store_backend_id == identity
    async with LAYERS.over(backend) as store:
        await store.put("k", 1)
        assert await store.keys() == ["k"]
    assert backend.list_keys(("k",)) == [("k",)]


async def test_a_namespace_of_langgraph() -> None:
    from langgraph.store.memory import InMemoryStore

    theirs = InMemoryStore()
    await theirs.aput(("users", "1"), "prefs", {"theme": "dark"})
    await theirs.aput(("users", "1", "inner"), "other", {"x": 1})
    async with adapt(theirs, namespace=["users", "1"], raw=True) as store:
        assert await store.get("prefs") == {"theme": "dark"}
        await store.put("mine", {"y": 2})
        assert await store.keys() == ["mine", "prefs"]
        assert await store.destroy() is True
    assert await theirs.aget(("users", "1", "inner"), "other") is not None
    async with LAYERS.over(theirs) as store:
        await store.put("k", 1)
    assert await theirs.aget(("kvwrap",), "k") is not None


@pytest.mark.parametrize("kind", ["obstore", "zarr"])
async def test_objects_that_others_wrote(kind: str, tmp_path: Path) -> None:
    obj = OBJECTS[kind](tmp_path)
    folder = tmp_path / ("objects" if kind == "obstore" else kind)
    folder.mkdir(exist_ok=True)
    (folder / "a").mkdir()
    (folder / "a" / "b").write_bytes(b"theirs")
    async with adapt(obj, raw=True) as store:
        assert await store.get("a/b") == b"theirs"
        await store.put("a/c", b"mine")
        assert await store.keys() == ["a/b", "a/c"]
        assert await store.delete_many(["a/c", "missing"]) == 1
    assert (folder / "a" / "b").read_bytes() == b"theirs"


async def test_a_store_of_zarr_in_memory() -> None:
    from zarr.storage import MemoryStore

    async with LAYERS.over(MemoryStore()) as store:
        await store.put("k", {"x": 1})
        assert await store.keys() == ["k"]


async def test_a_date_of_another_program_is_passed_by(tmp_path: Path) -> None:
    cache = objects.make_diskcache(tmp_path)
    cache["date"] = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
    layers: Stack = stack().statistics()
    async with layers.over(adapt(cache, raw=True)) as store:
        await store.put("k", 1)
        assert [key async for key in store.scan()] == ["k"]
        with pytest.raises(CorruptEntry, match="a datetime, which is of a type"):
            await store.get("date")
    cache.close()


@pytest.mark.parametrize("raw", [True, False])
async def test_a_value_that_its_library_cannot_decode_fails_alone(
    raw: bool, tmp_path: Path
) -> None:
    theirs = objects.make_keyvalue_sqlite(tmp_path)
    async with adapt(theirs, raw=raw) as store:
        await store.put_many(["a", "b", "c"], [1, 2, 3])
        with closing(sqlite3.connect(theirs.db_path)) as opened:
            name = "b" if raw else next(name for name in list(theirs.keys()) if "b" in name)
            table = theirs.table_name
            opened.execute(f"UPDATE {table} SET value = '{{broken' WHERE key = ?", (name,))
            opened.commit()
        for call in (store.get("b"), store.get_many(["a", "b"])):
            with pytest.raises(CorruptEntry, match="cannot decode \\(JSONDecodeError\\)") as raised:
                await call
            assert raised.value.key == "b"
            assert "broken" not in str(raised.value)
        assert await store.get_many(["a", "c"]) == [1, 3]
        # It is told of where values are those of others; elsewhere it may be one.
        assert sorted(await store.keys()) == (["a", "b", "c"] if raw else ["a", "c"])
        assert await store.count_unreadable() == (0 if raw else 1)
        with pytest.raises(CorruptEntry):
            await store.put("b", 5)
