"""RedisStore: another server takes over behind one name, and servers that are not ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap import RedisStore, StoreUnavailable, stack
from kvwrap.testing import RedisServer
from tests.stores.redis.proxy import Proxy


class Pair(NamedTuple):
    """A master, its replica, and a name that leads to the master."""

    master: RedisServer
    replica: RedisServer
    name: Proxy


async def _replicate(server: RedisServer, master: RedisServer | None) -> None:
    target = ("NO", "ONE") if master is None else ("127.0.0.1", str(master.port))
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.execute_command("REPLICAOF", *target)
        async with asyncio.timeout(30):
            while (state := await client.info("replication"))["role"] == "slave":
                if state["master_link_status"] == "up":
                    break
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    arguments = ("--repl-diskless-sync-delay", "0")
    with RedisServer(*arguments) as master, RedisServer(*arguments) as replica:
        await _replicate(replica, master)
        async with Proxy(master.port) as name:
            yield Pair(master, replica, name)


async def _fail_over(pair: Pair) -> None:
    async with (
        redis.asyncio.Redis.from_url(pair.master.url) as master,
        redis.asyncio.Redis.from_url(pair.replica.url) as replica,
        asyncio.timeout(30),
    ):
        # The replica gets every write. WAIT would be about those of its own connection.
        offset = (await master.info("replication"))["master_repl_offset"]
        while (await replica.info("replication"))["slave_repl_offset"] < offset:
            await asyncio.sleep(0.01)
    await _replicate(pair.replica, None)
    await _replicate(pair.master, pair.replica)
    pair.name.target = pair.replica.port


@pytest.mark.parametrize("with_client", [False, True])
async def test_every_connection_follows_the_name_to_the_new_master(
    pair: Pair, with_client: bool
) -> None:
    client: Any = redis.asyncio.Redis.from_url(pair.name.url) if with_client else None
    base = RedisStore(None if with_client else pair.name.url, client=client, timeout=5)
    async with stack().retry(attempts=2, wait=0.001).over(base) as store:
        # Many connections, of which each leads to the old master for good.
        await asyncio.gather(*(store.put(f"k{number}", number) for number in range(20)))
        await _fail_over(pair)
        await store.put("k0", "new")
        # One answer closes all, so the others need no second attempt.
        await asyncio.gather(*(base.put(f"other{number}", number) for number in range(20)))
        await store.put("k1", "new", ttl=50)
        await store.put_many(["k2", "k3"], ["new"] * 2)
        assert await store.increment("k4") == 5
        assert await store.delete("k5") is True
        assert await store.get_many(["k0", "k1", "k2", "k5"]) == ["new"] * 3 + [None]
    if client is not None:
        await client.aclose()
    async with RedisStore(pair.replica.url) as other:
        assert await other.get_many(["k0", "k4"]) == ["new", 5]


@pytest.mark.parametrize("method", ["put", "put_many", "put_if_absent", "delete", "destroy"])
async def test_each_kind_of_write_leaves_the_old_master(pair: Pair, method: str) -> None:
    calls: dict[str, Any] = {
        "put": lambda store: store.put("k", 1),
        "put_many": lambda store: store.put_many(["k", "l"], [1, 2], ttl=5),
        "put_if_absent": lambda store: store.put_if_absent("new", 1),
        "delete": lambda store: store.delete("k"),
        "destroy": lambda store: store.destroy(),
    }
    async with RedisStore(pair.name.url) as store:
        await store.put_many(["k", "first"], [1, 1])
        await _fail_over(pair)
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await calls[method](store)
        await calls[method](store)


async def test_a_replica_that_serves_no_stale_data(pair: Pair) -> None:
    async with (
        RedisStore(pair.name.url) as store,
        redis.asyncio.Redis.from_url(pair.master.url) as admin,
    ):
        await store.put("k", 1)
        await _fail_over(pair)
        # The old master has lost its connection to the new one: MASTERDOWN.
        await admin.config_set("replica-serve-stale-data", "no")
        await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable):
            await store.get("k")
        assert await store.get("k") == 1


async def test_a_server_of_a_cluster_that_is_not_responsible() -> None:
    with RedisServer("--cluster-enabled", "yes") as down, RedisServer() as up:
        async with Proxy(down.port) as name, RedisStore(name.url) as store:
            with pytest.raises(StoreUnavailable):
                await store.put("k", 1)  # CLUSTERDOWN
            name.target = up.port
            await store.put("k", 1)
            assert await store.get("k") == 1
