"""MongoDBStore: documents, native values, foreign documents, ready clients and URLs."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    Keyring,
    MongoDBStore,
    StoreUnavailable,
    ValueTooLarge,
    stack,
    store_from_url,
)
from kvwrap.testing import ManualClock, StoreContract
from kvwrap.testing.servers import MongoDBServer, SharedServers

VALUES: list[Any] = [
    {"name": "Ada", "tags": ["a", None, True], "deep": {"x": 1.5, "": -1}},
    {"a.b": 1, "$c": 2},
    [1, 2**53 + 1, -(2**63), 2**63 - 1],
    "text",
    None,
    3,
    0.1,
    -0.0,
]
NOT_NATIVE: list[Any] = [2**63, {"n": 2**70}, {"a\0b": 1}, {"$ref": "x", "$id": 1}]


class TestNative(StoreContract):
    compares_utf16 = True

    @pytest_asyncio.fixture
    async def store(self, url: str, name: str, clock: ManualClock) -> AsyncIterator[MongoDBStore]:
        async with MongoDBStore(url, collection=name, clock=clock, native=True) as store:
            yield store


async def test_native_values_are_bson_for_other_programs(url: str, name: str, client: Any) -> None:
    async with MongoDBStore(url, collection=name, native=True) as store:
        for number, value in enumerate([*VALUES, *NOT_NATIVE]):
            await store.put(f"k{number}", value, collection="c", ttl=1000)
            assert repr(await store.get(f"k{number}", collection="c")) == repr(value)
            document = await client.kvwrap[name].find_one({"_id": f"c:k{number}"})
            assert ("value" in document) == (number < len(VALUES))
        found = await client.kvwrap[name].find_one({"value.name": "Ada"})
        assert found["_id"] == "c:k0"
        assert (await store.ttl("k0", collection="c"))[1] > 990


async def test_what_only_reads_makes_no_index(url: str, name: str, client: Any) -> None:
    await client.kvwrap[name].insert_one({"_id": "of another program"})
    indexes = []
    for creates in (False, True):
        store = MongoDBStore(url, collection=name)
        store.creates = creates
        async with store:
            assert await store.get("a") is None
        indexes.append(len(await client.kvwrap[name].index_information()))
    assert indexes == [1, 2]


async def test_values_that_a_layer_changed_are_bytes(url: str, name: str, client: Any) -> None:
    layers = stack().encrypt(Keyring({"k": b"k" * 32}))
    async with layers.over(MongoDBStore(url, collection=name, native=True)) as store:
        await store.put("a", {"name": "Ada"})
        assert await store.get("a") == {"name": "Ada"}
    document = await client.kvwrap[name].find_one({"_id": ":a"})
    assert "value" not in document
    assert b"Ada" not in document["entry"]


async def test_native_and_other_documents_are_read_side_by_side(url: str, name: str) -> None:
    async with (
        MongoDBStore(url, collection=name) as plain,
        MongoDBStore(url, collection=name, native=True) as native,
    ):
        await plain.put("a", 1)
        await native.put("b", 2)
        assert await native.get_many(["a", "b"]) == await plain.get_many(["a", "b"]) == [1, 2]
        assert await native.increment("a") == 2
        assert await plain.increment("b") == 3


@pytest.mark.parametrize(
    "document",
    [
        {"x": 1},
        {"value": 1},
        {"entry": "text"},
        {"entry": b"x", "kvwrap_version": 1},
        {"entry": None},
        {"entry": None, "kvwrap_version": None},
        {"entry": None, "kvwrap_version": 5},
        {"value": 1, "kvwrap_version": 5, "kvwrap_created": float("inf")},
        {"value": 1, "kvwrap_version": float("inf"), "kvwrap_created": 5},
    ],
)
async def test_a_document_of_another_program_is_an_error(
    store: MongoDBStore, client: Any, name: str, document: dict[str, Any]
) -> None:
    await store.put("b", 1)
    await client.kvwrap[name].insert_one({"_id": ":a", **document})
    with pytest.raises(CorruptEntry, match=r"MongoDB of its own|entry of kvwrap"):
        await store.get("a")
    with pytest.raises(CorruptEntry):
        await store.get_many(["a", "b"])
    with pytest.raises(CorruptEntry):
        await store.increment("a")
    with pytest.raises(CorruptEntry):
        await store.expire("a", 5)
    assert await store.put_if_absent("a", 1) is False
    assert await store.compare_and_put("a", 1, 7) is False
    assert await store.get("b") == 1


async def test_an_index_frees_expired_documents(
    store: MongoDBStore, client: Any, name: str
) -> None:
    await store.put("a", 1, ttl=10)
    indexes = await client.kvwrap[name].index_information()
    (index,) = [each for each in indexes.values() if each["key"] == [("kvwrap_expires", 1)]]
    assert index["expireAfterSeconds"] == 0


async def test_expired_documents_are_hidden_and_freed(
    store: MongoDBStore, client: Any, name: str, clock: ManualClock
) -> None:
    await store.put_many(["a", "b"], [1, 2], ttl=[10, None])
    clock.advance(10)
    assert await client.kvwrap[name].count_documents({}) == 2
    assert await store.keys() == ["b"]
    assert await store.count() == 1
    assert await store.delete("a") is False
    assert await store.put_if_absent("a", 3)
    await store.put("c", 1, ttl=1)
    clock.advance(1)
    await store.cull()
    assert await client.kvwrap[name].count_documents({}) == 2


async def test_documents_of_an_application_are_left_alone(
    store: MongoDBStore, client: Any, name: str
) -> None:
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    theirs = [
        {"_id": "order-1", "expires": past},
        {"_id": 7, "version": 1},
        {"_id": "100%:x"},
        {"_id": "%3a:x"},
    ]
    await client.kvwrap[name].insert_many(theirs)
    await store.put("a", 1, collection="c")
    assert await store.collections() == ["c"]
    assert await store.keys() == []
    await store.cull()
    assert await store.destroy()
    assert await client.kvwrap[name].count_documents({}) == len(theirs)


async def test_a_batch_of_many_long_keys(store: MongoDBStore) -> None:
    keys = [f"{number:05}" + "k" * 1000 for number in range(20_000)]
    assert await store.get_many(keys) == [None] * len(keys)


async def test_destroying_leaves_other_collections_alone(url: str, name: str) -> None:
    async with (
        MongoDBStore(url, collection=name) as one,
        MongoDBStore(url, collection=name + "x") as two,
    ):
        await one.put_many(["a", "b"], [1, 2], collection="c")
        await two.put("a", 1)
        assert await one.destroy()
        assert not await one.destroy()
        assert await two.get("a") == 1


async def test_a_value_over_the_limit_in_the_middle_of_a_batch(store: MongoDBStore) -> None:
    large = "x" * (16 * 1024 * 1024)
    with pytest.raises(ValueTooLarge, match=r"16777216 bytes.*Nothing was") as caught:
        await store.put_many(["a", "b", "c"], [1, large, 3])
    assert caught.value.key == "b"
    assert await store.get_many(["a", "b", "c"]) == [None] * 3
    await store.put("b", "x" * 15_000_000)
    assert len(await store.get("b")) == 15_000_000


async def test_batches_that_insert_the_same_names(url: str, name: str) -> None:
    keys = [f"k{number}" for number in range(50)]
    async with MongoDBStore(url, collection=name) as store:
        await asyncio.gather(*(store.put_many(keys, [n] * 50) for n in range(6)))
        assert None not in await store.get_many(keys)
        await store.put_many(["a", "b", "a"], [1, 2, 3])
        assert await store.get_many(["a", "b"]) == [3, 2]


async def test_a_client_of_the_user_is_not_closed(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, collection=name) as store:
        await store.put("a", 1)
    assert await client.kvwrap[name].count_documents({}) == 1
    other = MongoDBStore(client=client, collection=name)
    assert await other.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(other.get("a")))


def test_urls() -> None:
    store = store_from_url(
        "mongodb://user:hunter2@one:1,two/shop?collection=c&native=true&replicaSet=r"
    )
    assert isinstance(store, MongoDBStore)
    assert store.location == "shop.c of MongoDB at one:1,two:27017"
    assert "hunter2" not in repr(store) + store.explain()
    assert MongoDBStore("mongodb://localhost").location.startswith("kvwrap.kvwrap of")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `url` or `client`"),
        ({"url": "redis://h"}, "must begin with mongodb://"),
        ({"url": "mongodb://h/a", "database": "b"}, "given once"),
        ({"url": "mongodb://h/a.b"}, "driver"),
        ({"url": "mongodb://h:p@x@y/a"}, "driver"),
        ({"url": "mongodb://h/a?w=-3"}, "driver"),
        ({"url": "mongodb://h/a?w=0"}, "got w=0"),
        ({"url": "mongodb://h/a#b"}, "'#'"),
        ({"url": "mongodb://h", "collection": "$x"}, "driver"),
        ({"url": "mongodb://h", "timeout": math.nan}, "timeout"),
        ({"client": object()}, "AsyncMongoClient; got object"),
    ],
)
def test_options_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MongoDBStore(**arguments)


def test_the_server_is_a_stand_in(servers: SharedServers) -> None:
    assert servers.url(MongoDBServer).startswith("mongodb://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("nonsense=3", "unknown URL option 'nonsense'"),
        ("maxPolSize=3", "unknown URL option 'maxPolSize': did you mean 'maxpoolsize'"),
        ("colection=x", "unknown URL option 'colection': did you mean 'collection'"),
        ("a%20b=secret", "unknown URL option: choose"),
        ("tls=true&tlsCAFile=/none", "refused them"),
    ],
)
def test_options_that_the_driver_does_not_take(options: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        store_from_url(f"mongodb://localhost/d?{options}")
    assert "secret" not in str(caught.value)
