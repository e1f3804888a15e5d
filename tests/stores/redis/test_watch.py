"""RedisStore: what changes is told, through whatever process and command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap import Change, ChangeKind, RedisStore, ValkeyStore
from kvwrap.core.changes import Scope
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import SharedServers, ValkeyServer
from tests.stores.redis.client_list import connections
from tests.stores.told import BOUND, Told

WRITER = """
import asyncio, sys
from kvwrap import RedisStore
async def main():
    async with RedisStore(sys.argv[1], namespace=sys.argv[2]) as store:
        for number in range(50):
            await store.put(f"k{number}", number, collection=sys.argv[3])
asyncio.run(main())
"""


@pytest_asyncio.fixture
async def told(store: RedisStore) -> AsyncIterator[Told]:
    async with Told(store) as told:
        yield told


def _is_heard(told: Told, moment: float) -> bool:
    return told.heard_at > moment


def _has(told: Told, names: set[tuple[str | None, str]]) -> bool:
    return names <= told.names


async def _settles(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_what_other_processes_write_is_told(
    redis_url: str, namespace: str, told: Told
) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, redis_url, namespace, f"of:{number}"
        )
        for number in range(2)
    ]
    assert [await writer.wait() for writer in writers] == [0, 0]
    wanted = {(f"of:{number}", f"k{key}") for number in range(2) for key in range(50)}
    await told.until(lambda: wanted <= told.names)
    assert told.kinds == {ChangeKind.CHANGED}


async def test_what_other_programs_do_is_told(
    client: Any, store: RedisStore, namespace: str, told: Told
) -> None:
    name = f"{namespace}::k"
    await client.set(name, "1")
    await told.until(lambda: told.take() == {(None, "k")})
    for command in (
        ("EVAL", f"redis.call('SET', '{name}', 2) redis.call('DEL', '{name}x')", 0),
        ("PEXPIRE", name, 60_000),
        ("RENAME", name, f"{namespace}:c%3A:n"),
    ):
        await client.execute_command(*command)
        await told.until(lambda: (None, "k") in told.take())
    await client.set(f"{namespace}:c%3A:é", "1", px=20)
    await told.until(lambda: ("c:", "é") in told.take())
    await told.until(lambda: ("c:", "é") in told.take())  # it expired
    # Names of nobody's, and those of another namespace.
    for other in (f"{namespace}:", f"{namespace}", f"{namespace}:%:k", f"{namespace}x::k"):
        await client.set(other, "1")
        await client.delete(other)
    await client.set(f"{namespace}:".encode() + b":\xff", "1", px=50)
    await store.put("end", 1)
    await told.until(lambda: (None, "end") in told.names)
    assert told.take() == {(None, "end")}


async def test_names_of_other_programs_are_told_with_every_collection_they_may_be_in(
    redis_url: str, client: Any, namespace: str
) -> None:
    async with RedisStore(redis_url, raw=True) as store:
        for scope, wanted in (
            (Scope(None, namespace), {(None, f"{namespace}:a:b")}),
            (Scope(namespace), {(namespace, "a:b")}),
            (Scope(f"{namespace}:a"), {(f"{namespace}:a", "b")}),
        ):
            async with Told(store, scope) as told:
                await client.set(f"{namespace}:a:b", "1")
                await told.until(partial(_has, told, wanted))
                assert told.names == wanted
                await client.delete(f"{namespace}:a:b")
        async with Told(store, Scope(namespace)) as told:
            await client.set(f"{namespace}:{':' * 65}", "1", px=1)
            await told.until(lambda: told.kinds == {ChangeKind.LOST})


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"])
async def test_a_flushed_server_is_told(own_server: RedisServer, command: str) -> None:
    async with RedisStore(own_server.url) as store, Told(store) as told:
        await store.put("k", 1)
        assert own_server.run(command).startswith(b"+OK")
        await told.until(lambda: ChangeKind.LOST in told.kinds)
        await store.put("k", 2)
        await told.until(lambda: told.changes[-1] == Change(ChangeKind.CHANGED, None, "k"))


async def test_what_is_evicted_is_told(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url) as store, Told(store) as told:
        await store.put("k", "x" * 100_000)
        await told.until(lambda: bool(told.take()))
        own_server.run("CONFIG SET maxmemory-policy allkeys-random")
        own_server.run("CONFIG SET maxmemory 1")
        own_server.run("SET other 1")
        await told.until(lambda: (None, "k") in told.take())


async def test_before_heard_at_everything_was_told(store: RedisStore, told: Told) -> None:
    for number in range(20):
        await store.put("k", number)
        written = store.clock.monotonic()
        await told.until(partial(_is_heard, told, written))
        assert told.take() == {(None, "k")}


async def test_stores_of_a_process_share_a_connection(redis_url: str, namespace: str) -> None:
    url = f"{redis_url}?client_name={namespace}"
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        stores = [RedisStore(url, namespace=namespace) for _ in range(3)]
        listeners = [Told(store) for store in stores for _ in range(3)]
        await asyncio.gather(*(each.open() for each in listeners))
        assert len(await connections(client, namespace, flag="t")) == 1
        await stores[0].put("k", 1)
        for each in listeners:
            await each.until(partial(_has, each, {(None, "k")}))
        for each in listeners[3:]:
            await each.close()
        assert len(await connections(client, namespace, flag="t")) == 1
        for store in stores:
            await store.close()
        assert all(each.changes[-1].kind is ChangeKind.LOST for each in listeners[:3])

        async def is_gone() -> bool:
            return not await connections(client, namespace)

        await _settles(is_gone)


@pytest.mark.parametrize("is_closed", [True, False])
def test_one_event_loop_after_another(redis_url: str, namespace: str, is_closed: bool) -> None:
    store = RedisStore(redis_url, namespace=namespace)

    async def use() -> None:
        tasks = asyncio.all_tasks()
        told = Told(store)
        await told.open()
        await store.put("k", 1)
        await told.until(lambda: (None, "k") in told.names)
        if is_closed:
            await told.close()
            assert asyncio.all_tasks() <= tasks

    for _ in range(3):
        asyncio.run(use())
    asyncio.run(store.destroy())
    asyncio.run(store.close())


async def test_a_client_of_the_user_keeps_its_connections(redis_url: str, namespace: str) -> None:
    for protocol in (2, 3):
        client = redis.asyncio.Redis.from_url(redis_url, protocol=protocol, max_connections=1)
        async with client, RedisStore(client=client, namespace=namespace, timeout=60) as store:
            async with Told(store) as told:
                await store.put("k", 1)
                written = store.clock.monotonic()
                await told.until(partial(_has, told, {(None, "k")}))
                assert await client.ping()
                await told.until(partial(_is_heard, told, written))
                assert not told.losses  # the link has stayed
            assert await store.get("k") == 1
            await store.destroy()


async def test_a_thousand_watch_and_leave_nothing(store: RedisStore) -> None:
    tasks = asyncio.all_tasks()
    watches = [store.watch(collection=f"c{number}") for number in range(1000)]
    await asyncio.gather(*(each.open() for each in watches))
    await store.put("k", 1, collection="c500")
    assert await anext(watches[500]) == Change(ChangeKind.CHANGED, "c500", "k")
    waiting = [asyncio.ensure_future(anext(each)) for each in watches[:10]]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(*(each.aclose() for each in watches))
    assert asyncio.all_tasks() <= tasks


@pytest.fixture
def threaded() -> Iterator[ValkeyServer]:
    """Yield a server that reads and answers in threads."""
    with ValkeyServer("--io-threads", "3", "--events-per-io-thread", "0") as server:
        yield server


async def test_a_server_with_threads(threaded: ValkeyServer) -> None:
    async with ValkeyStore(threaded.url) as store, Told(store) as told:

        async def write(key: str) -> None:
            for number in range(50):
                await store.put(key, number)
                written = store.clock.monotonic()
                await told.until(partial(_is_heard, told, written))
                assert (None, key) in told.names

        await asyncio.gather(*(write(f"k{number}") for number in range(4)))


async def test_valkey_tells_too(servers: SharedServers, namespace: str) -> None:
    async with (
        ValkeyStore(servers.url(ValkeyServer), namespace=namespace) as store,
        Told(store, Scope(bound=BOUND)) as told,
    ):
        await store.put("k", 1)
        await told.until(lambda: told.names == {(None, "k")})
