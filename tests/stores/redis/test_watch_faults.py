"""RedisStore: what may have been missed is told, whatever happens to the link."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from kvwrap import (
    Capability,
    RedisStore,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
)
from kvwrap.core.changes import Scope
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import RedisSentinel
from tests.stores.redis.loopback import LoopbackServer
from tests.stores.redis.proxy import Proxy
from tests.stores.told import BOUND, Told


@pytest_asyncio.fixture
async def proxy(own_server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(own_server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def watched(proxy: Proxy) -> AsyncIterator[RedisStore]:
    async with RedisStore(proxy.url, timeout=1) as store:
        yield store


@pytest_asyncio.fixture
async def told(watched: RedisStore) -> AsyncIterator[Told]:
    async with Told(watched) as told:
        yield told


def _lost(told: Told, times: int) -> bool:
    return told.losses >= times


async def _is_told_again(server: RedisServer, told: Told) -> None:
    """Wait until the link is back, and new changes are told after the second loss."""
    await told.until(partial(_lost, told, 2))
    await told.hears((None, "again"), partial(server.run, "SET kvwrap::again 1"))


async def test_a_cut_link_is_told_twice(own_server: RedisServer, told: Told) -> None:
    for _ in range(3):
        before = told.losses
        own_server.run("CLIENT KILL TYPE pubsub")
        await told.until(partial(_lost, told, before + 2))
        await told.hears((None, "k"), partial(own_server.run, "SET kvwrap::k 1"))


async def test_a_restarted_server_is_told(own_server: RedisServer, told: Told) -> None:
    own_server.kill()
    await told.until(partial(_lost, told, 1))
    heard = told.heard_at
    own_server.start()
    await _is_told_again(own_server, told)
    await told.until(lambda: told.heard_at > heard)


async def test_a_frozen_server_is_heard_no_more(
    own_server: RedisServer, watched: RedisStore, told: Told
) -> None:
    own_server.freeze()
    frozen = watched.clock.monotonic()
    await told.until(partial(_lost, told, 1))
    assert told.heard_at < frozen
    own_server.thaw()
    await _is_told_again(own_server, told)
    await told.until(lambda: told.heard_at > frozen)


async def test_a_link_that_swallows_bytes_is_heard_no_more(
    own_server: RedisServer, proxy: Proxy, watched: RedisStore, told: Told
) -> None:
    proxy.hold()  # questions do not arrive, and what the server tells does
    held = watched.clock.monotonic()
    await told.until(partial(_lost, told, 1))
    assert told.heard_at < held
    await _is_told_again(own_server, told)
    proxy.release()


async def test_who_reads_too_slowly_is_cut_off(own_server: RedisServer) -> None:
    answer = own_server.run('CONFIG SET client-output-buffer-limit "pubsub 1mb 1mb 1"')
    assert answer.startswith(b"+OK"), answer
    async with RedisStore(own_server.url, timeout=60) as store, Told(store) as told:
        # One push of several megabytes, more than the server keeps for a client.
        script = "for i=1,300000 do redis.call('SET','kvwrap::'..i,1) end"
        reader, writer = await asyncio.open_connection("127.0.0.1", own_server.port)
        writer.write(f"*3\r\n$4\r\nEVAL\r\n${len(script)}\r\n{script}\r\n$1\r\n0\r\n".encode())
        assert (await reader.readline()).startswith(b"$-1")
        writer.close()
        await told.until(partial(_lost, told, 2))


async def test_a_link_that_is_away_at_first(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, timeout=1) as store:
        tasks = asyncio.all_tasks()
        for hinder, undo in (
            (own_server.freeze, own_server.thaw),
            (own_server.kill, own_server.start),
        ):
            hinder()
            with pytest.raises((StoreUnavailable, StoreTimeout)):
                await store.subscribe(Scope(), print)
            assert asyncio.all_tasks() <= tasks
            undo()
        async with Told(store) as told:
            await told.hears((None, "k"), lambda: store.put("k", 1))


async def test_a_master_that_becomes_a_replica_is_noticed() -> None:
    with RedisServer() as master, RedisServer() as other:
        async with RedisStore(master.url) as store, Told(store) as told:
            assert master.run(f"REPLICAOF 127.0.0.1 {other.port}").startswith(b"+OK")
            await told.until(partial(_lost, told, 2))
            await told.until(lambda: b"connected" in master.run("ROLE"))
            await told.hears((None, "k"), partial(other.run, "SET kvwrap::k 1"))


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_failover_by_sentinels_is_followed(crashes: bool) -> None:
    with RedisSentinel() as service:
        async with RedisStore(service.url) as store, Told(store) as told:
            if crashes:
                service.primary.kill()
            else:
                assert service.sentinels[0].run("SENTINEL FAILOVER main").startswith(b"+OK")
            await told.until(partial(_lost, told, 2))
            await told.hears((None, "k"), partial(service.replica.run, "SET kvwrap::k 1"))


RIGHTS = "on >pw ~kvwrap:* +@read +@write +@scripting +@connection"


async def test_an_account_that_may_not_watch(own_server: RedisServer) -> None:
    assert own_server.run(f"ACL SETUSER a {RIGHTS} -client|tracking").startswith(b"+OK")
    async with RedisStore(own_server.url.replace("://", "://a:pw@")) as store:
        await store.check()
        assert Capability.WATCH not in store.capabilities
        with pytest.raises(UnsupportedOperation, match="live as long as their ttl says") as raised:
            await store.subscribe(Scope(), print)
        assert raised.value.store == "RedisStore"
        assert "pw" not in str(raised.value)
        await store.put("k", 1)
    own_server.run(f"ACL SETUSER b {RIGHTS}")
    async with (
        RedisStore(own_server.url.replace("://", "://b:pw@")) as store,
        Told(store) as told,
    ):
        await store.check()
        assert Capability.WATCH in store.capabilities
        await store.put("k", 1)
        await told.until(lambda: (None, "k") in told.names)


class OldServer(LoopbackServer):
    """Answers to every command that it does not know it, as old servers and proxies do."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                for _ in range(2 * int(line[1:])):
                    await reader.readline()
                writer.write(b"-ERR unknown command\r\n")
        writer.close()


async def test_a_server_without_tracking() -> None:
    async with OldServer() as server, RedisStore(server.url) as store:
        with pytest.raises(UnsupportedOperation, match="does not offer HELLO 3"):
            await store.subscribe(Scope(bound=BOUND), print)
        assert Capability.WATCH not in store.capabilities


async def test_what_is_no_server_of_redis_is_an_outage() -> None:
    class Other(LoopbackServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
            writer.close()

    async with Other() as server, RedisStore(server.url, timeout=5) as store:
        with pytest.raises(StoreUnavailable):
            await store.subscribe(Scope(), print)
