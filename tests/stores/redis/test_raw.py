"""RedisStore with `raw=True`: data of another program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap import Capability, CorruptEntry, Keyring, UnsupportedOperation, stack
from kvwrap.core.serializer import JSON, MsgpackSerializer
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import RedisServer


@pytest_asyncio.fixture
async def raw(own_server: RedisServer) -> AsyncIterator[tuple[RedisStore, Any]]:
    async with (
        RedisStore(own_server.url, raw=True) as store,
        redis.asyncio.Redis.from_url(own_server.url, protocol=2) as client,
    ):
        yield store, client


async def test_raw_values_are_the_bytes_in_redis(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.set("k", b"\x00\xff", px=100_000)
    await client.set("c:k", b"")
    assert await store.get("k") == b"\x00\xff"
    assert await store.get("k", collection="c") == b""
    assert await store.get_many(["k", "none", "c:k"]) == [b"\x00\xff", None, b""]
    value, left = await store.ttl("k")
    assert (value, left) == (b"\x00\xff", pytest.approx(100, abs=5))
    assert await store.ttl("c:k") == (b"", None)
    await store.put("new", b"bytes", ttl=50)
    assert await client.get("new") == b"bytes"
    assert 45_000 < await client.pttl("new") <= 50_001
    await store.put_many(["x", "y"], [b"1", b"2"], collection="c")
    assert await client.mget("c:x", "c:y") == [b"1", b"2"]
    assert sorted(await store.keys("c")) == ["k", "x", "y"]
    assert await store.expire("k", None) is True
    assert await client.pttl("k") == -1
    assert await client.get("k") == b"\x00\xff"


async def test_raw_values_can_be_compared_and_put(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.set("k", b"one")
    versioned = await store.get_versioned("k")
    assert versioned is not None
    await client.set("k", b"two")
    assert await store.compare_and_put("k", b"three", versioned.version) is False
    versioned = await store.get_versioned("k")
    assert versioned is not None
    assert await store.compare_and_put("k", b"three", versioned.version) is True
    assert await client.get("k") == b"three"
    assert await store.put_if_absent("k", b"four") is False
    assert await store.pop("k") == b"three"
    counter = stack().serialize("json").over(RedisStore(client=client, raw=True))
    await client.set("n", b"41")
    assert await counter.increment("n") == 42
    assert await client.incr("n") == 43


async def test_raw_leaves_values_alone_that_are_not_strings(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.hset("hash", "field", "x")
    await client.rpush("list", "x")
    await client.set(b"\xff\xfe", b"no text")
    await client.set("s", b"x")
    counter = stack().serialize("json").over(RedisStore(client=client, raw=True))
    assert await store.keys() == ["s"]
    for call in (
        store.get("hash"),
        store.get_many(["s", "hash", "none"]),
        store.exists("hash"),
        store.put("hash", b"new"),
        store.put("hash", b"new", ttl=5),
        store.put_many(["s", "hash"], [b"new", b"new"]),
        store.put_if_absent("hash", b"new"),
        store.compare_and_put("hash", b"new", 5),
        store.get_or_put("hash", lambda: b"new"),
        store.delete("hash"),
        store.delete_many(["hash", "none"]),
        store.pop("hash"),
        store.expire("hash", 5),
        counter.increment("hash"),
    ):
        with pytest.raises(CorruptEntry, match="has put a hash there"):
            await call
    with pytest.raises(CorruptEntry, match="has put a list there") as caught:
        await store.get("list")
    assert caught.value.key == "list"
    assert await client.hgetall("hash") == {b"field": b"x"}
    assert await store.get_many(["s", "none"]) == [b"new", None]
    assert await client.pttl("hash") == -1


async def test_conditions_on_what_is_not_a_string_in_a_namespace(own_server: RedisServer) -> None:
    async with (
        RedisStore(own_server.url) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.hset("kvwrap::hash", "field", "x")
        for call in (store.put_if_absent("hash", 1), store.increment("hash"), store.delete("hash")):
            with pytest.raises(CorruptEntry, match="has put a hash there"):
                await call


async def test_raw_bytes_that_look_like_an_entry_are_read_unchanged(
    raw: tuple[RedisStore, Any],
) -> None:
    store, client = raw
    await store.put("k", b"\xabk\x01 looks like one")
    assert await store.get("k") == b"\xabk\x01 looks like one"
    assert await client.get("k") != b"\xabk\x01 looks like one"


async def test_raw_drops_one_collection_and_never_everything(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.mset({"a": "1", "c:a": "1", "c:b": "1", "cc:a": "1"})
    assert not store.capabilities & {Capability.DESTROY, Capability.COLLECTIONS}
    for call in (store.destroy(), store.destroy_collection(None), store.collections()):
        with pytest.raises(UnsupportedOperation):
            await call
    assert await store.destroy_collection("c") is True
    assert sorted(await client.keys()) == [b"a", b"cc:a"]


async def test_raw_counts_and_deletes_what_it_lists(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    names = ["c:é1", "c:é2", "c:", "c:é\U0001f600\uffff\ue000\x00", "cc:é", "c:kvwrap.é"]
    await client.mset(dict.fromkeys(names, "1"))
    invalid = [b"\xe9", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe0\x80\x80"]
    others = [b"c:\xc3\xa9" + end for end in (*invalid, b"\xf0\x80\x80\x80", b"\xf5\x80\x80\x80")]
    await client.mset(dict.fromkeys(others, "1"))
    await client.hset("c:é-hash", "a", "1")
    assert len(await store.keys("c")) == 4  # with the record of a layer
    assert await store.count(collection="c") == 3
    assert await store.count(collection="c", prefix="é1") == 1
    with pytest.raises(UnsupportedOperation, match="destroy the default collection"):
        await store.delete_where()
    assert await store.delete_where(collection="c", prefix="é") == 3
    assert sorted(await client.keys("c:*")) == sorted(
        [*others, b"c:", "c:kvwrap.é".encode(), "c:é-hash".encode()]
    )
    assert await store.delete_where(prefix="cc:") == 1


@pytest.mark.parametrize("serializer", [JSON, MsgpackSerializer()])
async def test_raw_reads_and_writes_the_format_of_its_serializer(
    own_server: RedisServer, serializer: Any
) -> None:
    async with (
        RedisStore(own_server.url, raw=True, serializer=serializer) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.set("k", serializer.dumps({"a": [1]}))
        assert await store.get("k") == {"a": [1]}
        await store.put("l", {"b": None})
        assert await client.get("l") == serializer.dumps({"b": None})
        assert await store.get("l") == {"b": None}
        await client.set("m", b"\xc1 neither")
        with pytest.raises(CorruptEntry):
            await store.get("m")


async def test_encryption_over_plain_json_of_another_program(own_server: RedisServer) -> None:
    layers = (
        stack()
        .statistics()
        .serialize("json")
        .encrypt(Keyring.generate(), accept_plaintext=True)
        .silence("migration-open")
    )
    async with (
        layers.over(RedisStore(own_server.url, raw=True)) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.set("user:1", '{"name": "Ada", "age": 36}', ex=100)
        await client.set("count", "7")
        assert await store.get("1", collection="user") == {"name": "Ada", "age": 36}
        assert await store.get_many(["count", "user:1"]) == [7, {"name": "Ada", "age": 36}]
        await store.put("2", {"name": "Grace"}, collection="user", ttl=100)
        assert b"Grace" not in await client.get("user:2")
        assert await store.get_many(["1", "2"], collection="user") == [
            {"name": "Ada", "age": 36},
            {"name": "Grace"},
        ]
        # In place, with its ttl and only if the other program has not changed it meanwhile.
        versioned = await store.get_versioned("1", collection="user")
        assert versioned is not None
        assert (
            await store.compare_and_put("1", versioned.value, versioned.version, collection="user")
            is True
        )
        assert b"Ada" not in await client.get("user:1")
        assert await store.get("1", collection="user") == {"name": "Ada", "age": 36}
        assert await store.increment("count") == 8
        assert sorted(await store.keys("user")) == ["1", "2"]
