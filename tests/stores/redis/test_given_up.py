"""RedisStore: a write that was given up never replaces one that was acknowledged later."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from kvwrap import RedisStore, Store, StoreTimeout
from kvwrap.testing import RedisServer
from tests.stores.redis.client_list import connections
from tests.stores.redis.proxy import Proxy

WARM = "x" * 1_100_000
"""A value for which the store asks the server for its limit, so that it need not ask later."""

SIZES = [1, 100_000, 3_000_000, 50_000_000]
"""Sizes of values: within one packet, within the buffers of the kernel, and beyond them."""


@asynccontextmanager
async def by_url(server: RedisServer) -> AsyncIterator[Store]:
    async with RedisStore(server.url, timeout=0.6) as store:
        yield store


@asynccontextmanager
async def by_client(server: RedisServer) -> AsyncIterator[Store]:
    async with (
        redis.asyncio.Redis.from_url(server.url) as client,
        RedisStore(client=client, timeout=0.6) as store,
    ):
        yield store


async def _put(store: Store, key: str, value: object) -> None:
    """Put until it is acknowledged: on a busy machine 0.6 seconds may be too short."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(StoreTimeout):
                return await store.put(key, value)


async def _settled(server: RedisServer, key: str) -> Any:
    """Return the value in the server after everything that was under way has arrived."""
    async with RedisStore(server.url, timeout=30) as other:
        for _ in range(5):
            await asyncio.sleep(0.03)
            value = await other.get(key)
        return value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_a_write_that_timed_out_never_replaces_a_later_one(
    own_server: RedisServer,
    opened: Callable[[RedisServer], AbstractAsyncContextManager[Store]],
    size: int,
) -> None:
    async with opened(own_server) as store:
        await _put(store, "warm", WARM)
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.put("k", "old" + "x" * size)
        own_server.thaw()
        await _put(store, "k", "new")
        assert await _settled(own_server, "k") == "new"


async def test_writes_that_were_cancelled_never_replace_later_ones(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, timeout=30) as store:
        await store.put("warm", WARM)
        for turn in range(5):
            old = "old" + "x" * 2_000_000
            tasks = [asyncio.create_task(store.put(f"k{i}", old)) for i in range(6)]
            await asyncio.sleep(0.004 * turn)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await store.put_many([f"k{i}" for i in range(6)], [turn] * 6)
            assert [await _settled(own_server, f"k{i}") for i in (0, 5)] == [turn, turn]


async def test_a_write_within_a_slow_line_never_replaces_a_later_one(
    own_server: RedisServer,
) -> None:
    async with (
        Proxy(own_server.port, bytes_per_second=1_000_000) as proxy,
        RedisStore(proxy.url, timeout=0.6) as store,
    ):
        await _put(store, "warm", 1)
        with pytest.raises(StoreTimeout):
            await store.put("k", "old" + "x" * 1_000_000)
        await _put(store, "k", "new")
        await asyncio.sleep(0.6)
        assert await _settled(own_server, "k") == "new"


async def test_a_write_that_a_proxy_still_has_never_replaces_a_later_one(
    own_server: RedisServer,
) -> None:
    async with Proxy(own_server.port) as proxy, RedisStore(proxy.url, timeout=0.6) as store:
        await _put(store, "k", "first")
        proxy.hold()
        with pytest.raises(StoreTimeout):
            await store.put("k", "old")
        await _put(store, "k", "new")
        proxy.release()
        assert await _settled(own_server, "k") == "new"


async def test_a_conditional_write_that_timed_out_never_replaces_a_later_one(
    own_server: RedisServer,
) -> None:
    async with RedisStore(own_server.url, timeout=1.5) as store:
        await store.put("warm", WARM)
        await store.put("k", 0)
        versioned = await store.get_versioned("k")
        assert versioned is not None
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.compare_and_put("k", "old" + "x" * 3_000_000, versioned.version)
        own_server.thaw()
        await store.delete("k")
        assert await _settled(own_server, "k") is None


async def test_the_connection_that_was_given_up_is_killed_once(own_server: RedisServer) -> None:
    async with (
        RedisStore(f"{own_server.url}?client_name=store", timeout=1.5) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await store.put("k", 1)
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.put("k", 2)
        own_server.thaw()
        for _ in range(3):
            await store.put("k", 3)
        statistics = await client.info("commandstats")
        assert statistics["cmdstat_client|kill"]["calls"] == 1
        assert len(await connections(client, "store")) == 1


async def test_an_account_that_may_not_kill_connections(own_server: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(own_server.url) as client:
        for name, rules in {"no-kill": ["-client|kill"], "no-info": ["-client|info"]}.items():
            await client.execute_command(
                *("ACL", "SETUSER", name, "on", ">pw", "~*", "+@all", *rules)
            )
            url = own_server.url.replace("//", f"//{name}:pw@")
            async with RedisStore(url, timeout=1.5) as store:
                await store.put("k", 1)
                own_server.freeze()
                with pytest.raises(StoreTimeout):
                    await store.put("k", 2)
                own_server.thaw()
                await store.put("k", 3)
                assert await store.get("k") == 3


async def test_a_connection_of_another_server_is_never_killed(own_server: RedisServer) -> None:
    """Numbers of connections are small, so those of two servers behind one name are equal."""
    with RedisServer() as second:
        async with Proxy(own_server.port) as proxy, RedisStore(proxy.url, timeout=1.5) as store:
            await store.put("k", 1)
            own_server.freeze()
            with pytest.raises(StoreTimeout):
                await store.put("k", 2)
            proxy.target = second.port
            async with contextlib.AsyncExitStack() as stack:
                clients = []
                for _ in range(8):
                    client = redis.asyncio.Redis.from_url(second.url, single_connection_client=True)
                    clients.append(await stack.enter_async_context(client))
                numbers = [await client.client_id() for client in clients]
                await store.put("k", 3)
                assert [await client.client_id() for client in clients] == numbers
            own_server.thaw()


async def test_a_write_over_a_unix_socket_never_replaces_a_later_one() -> None:
    with tempfile.TemporaryDirectory(suffix=" with a space") as folder:
        path = f"{folder}/redis.sock"
        with RedisServer("--unixsocket", path) as server:
            async with (
                RedisStore(f"unix://{path}", timeout=1.5) as store,
                redis.asyncio.Redis.from_url(server.url) as client,
            ):
                await store.put("warm", WARM)
                server.freeze()
                with pytest.raises(StoreTimeout):
                    await store.put("k", "old" + "x" * 3_000_000)
                server.thaw()
                await store.put("k", "new")
                assert await _settled(server, "k") == "new"
                statistics = await client.info("commandstats")
                assert statistics["cmdstat_client|kill"]["calls"] == 1
