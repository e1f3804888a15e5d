"""RedisStore: servers that hang, are full of connections, or die in the middle of a batch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from kvwrap import RedisStore, StoreFull, StoreUnavailable, ValueTooLarge
from kvwrap.testing import RedisServer
from tests.stores.redis.scripted import ScriptedServer


@pytest.mark.parametrize("conditional", [False, True])
async def test_a_server_that_dies_in_a_batch_has_done_what_it_answered(conditional: bool) -> None:
    keys = [f"k{number}" for number in range(10)]
    async with ScriptedServer() as server, RedisStore(server.url) as store:
        await store.check()
        server.lives_for(4)
        call = store.delete_many(keys) if conditional else store.put_many(keys, keys, ttl=50)
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}") as caught:
            await call
        assert caught.value.succeeded == tuple(keys[:4])
        await store.put_many(keys, keys, ttl=50)
        assert server.killed == 1  # what was given up cannot be carried out later


async def test_a_server_without_connections_says_so(own_server: RedisServer) -> None:
    async with (
        redis.asyncio.Redis.from_url(own_server.url) as admin,
        RedisStore(own_server.url) as store,
    ):
        await admin.config_set("maxclients", 1)
        with pytest.raises(StoreUnavailable, match=r"(?:connection|connections) left .*maxclients"):
            await store.get("a")
        await admin.config_set("maxclients", 100)
        assert await store.get("a") is None


async def test_more_calls_than_connections_wait_and_succeed(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, max_connections=2, timeout=60) as store:
        assert await asyncio.gather(*(store.get("a") for _ in range(500))) == [None] * 500
        assert store.idle
        assert own_server.run("INFO clients").count(b"connected_clients:3\r") == 1  # one asks


async def test_a_value_over_the_limit_in_a_batch_names_its_key(own_server: RedisServer) -> None:
    values: list[Any] = ["x", "y" * 2_000_000, "z"]
    async with RedisStore(own_server.url) as store:
        own_server.run("CONFIG SET proto-max-bulk-len 1048576")
        with pytest.raises(ValueTooLarge) as caught:
            await store.put_many(["a", "b", "c"], values)
        assert (caught.value.key, caught.value.succeeded) == ("b", None)
        assert await store.keys() == []


async def test_memory_that_is_full_in_the_middle_of_a_batch(own_server: RedisServer) -> None:
    keys = [f"k{number}" for number in range(200)]
    async with RedisStore(own_server.url) as store:
        used = int(own_server.run("INFO memory").split(b"used_memory:")[1].split(b"\r")[0])
        own_server.run(f"CONFIG SET maxmemory {used + 1_000_000}")
        with pytest.raises(StoreFull, match=f"127.0.0.1:{own_server.port}") as caught:
            await store.put_many(keys, ["x" * 20_000] * 200, ttl=500)
        done = caught.value.succeeded
        assert done
        assert len(done) < 200
        assert set(await store.keys()) == set(done)


async def test_a_frozen_server_comes_back(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, timeout=1) as store:
        await store.put("a", 1)
        own_server.freeze()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port} did not answer"):
            await store.put_many(["a", "b"], [2, 2])
        own_server.thaw()
        await store.put("a", 3)
        assert await store.get("a") == 3
