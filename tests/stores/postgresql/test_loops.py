"""PostgreSQLStore: event loops one after another, forks, and what is left after close."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kvwrap import ConfigurationError, PostgreSQLStore, StoreUnavailable
from kvwrap.stores.postgresql.connections import Connection
from kvwrap.testing.servers import PostgreSQLServer

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kvwrap-%'"


async def crowd(store: PostgreSQLStore) -> None:
    keys = [f"key-{number}" for number in range(80)]
    await asyncio.gather(*(store.put(key, key) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == keys


async def left(url: str, most: int) -> None:
    """Wait until the server has at most this number of connections of stores."""
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(60):
        while await connection.fetchval(OURS) > most:
            await asyncio.sleep(0.01)
    await connection.close()


def test_a_store_that_is_not_closed_works_in_the_next_loop(own_server: PostgreSQLServer) -> None:
    store = PostgreSQLStore(own_server.url, max_connections=4)
    for number in range(3):
        asyncio.run(store.put("k", number))
        assert asyncio.run(store.get("k")) == number
    for _ in range(3):
        asyncio.run(crowd(store))
        assert store.idle

    async def end() -> None:
        await store.get("k")
        await left(own_server.url, 1)  # those of the loops before are closed
        await store.close()
        await left(own_server.url, 0)

    asyncio.run(end())
    gc.collect()


def test_a_store_that_was_opened_in_a_loop_can_be_closed_in_another(
    own_server: PostgreSQLServer,
) -> None:
    store = PostgreSQLStore(own_server.url)
    asyncio.run(store.open())
    asyncio.run(crowd(store))
    asyncio.run(store.close())
    asyncio.run(left(own_server.url, 0))
    gc.collect()


async def test_nothing_is_left_after_close(own_server: PostgreSQLServer) -> None:
    gc.collect()  # what other tests left may end at any time
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        async with PostgreSQLStore(own_server.url) as store:
            await crowd(store)
            task = asyncio.create_task(store.put("k", 1))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert store.idle
    await left(own_server.url, 0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= tasks
    assert set(threading.enumerate()) <= threads
    assert len(list(Path("/proc/self/fd").iterdir())) <= files


def test_two_loops_at_once_are_refused(url: str, table: str) -> None:
    async def run() -> None:
        async with PostgreSQLStore(url, table=table) as store:
            await store.put("k", 1)
            with pytest.raises(StoreUnavailable, match="one event loop at a time"):
                await asyncio.to_thread(asyncio.run, store.get("k"))
            assert await store.get("k") == 1
            await store.destroy()

    asyncio.run(run())


FORKING = """
import asyncio, os, sys
from kvwrap import PostgreSQLStore

store = PostgreSQLStore(sys.argv[1], table=sys.argv[2])

async def use(value):
    await store.put("k", value)
    assert await store.get("k") == value
    await asyncio.gather(*(store.get("k") for _ in range(5)))

loop = asyncio.new_event_loop()
loop.run_until_complete(use("parent"))
child = os.fork()
if child == 0:
    asyncio.run(use("child"))
    asyncio.run(store.close())
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
loop.run_until_complete(use("parent again"))
loop.run_until_complete(store.close())
loop.close()
"""


def test_a_forked_child_gets_connections_of_its_own(url: str, table: str) -> None:
    program = [sys.executable, "-W", "error", "-c", FORKING, url, table]
    subprocess.run(program, check=True, timeout=100, env={**os.environ})


async def test_a_ready_pool_is_used_and_never_closed(url: str, table: str, admin: Any) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=3) as client:
        store = PostgreSQLStore(client=client, table=table)
        async with store:
            await crowd(store)
            assert await store.keys(None) == sorted(f"key-{number}" for number in range(80))
            port = url.rpartition(":")[2]
            assert store.location.endswith(
                f"in database 'postgres' of PostgreSQL at 127.0.0.1:{port.partition('/')[0]}"
            )
        assert await client.fetchval("SELECT 1") == 1
        assert client.get_size() == client.get_idle_size()

        def elsewhere() -> None:
            asyncio.run(other.get("k"))

        other = PostgreSQLStore(client=client, table=table)
        await other.put("k", 1)
        with pytest.raises(
            StoreUnavailable, match="`client` only in the event loop of its connections"
        ):
            await asyncio.to_thread(elsewhere)
        await other.close()


async def test_connections_that_ended_are_not_kept(
    own_server: PostgreSQLServer, table: str
) -> None:
    def kept() -> weakref.WeakSet[Connection]:
        gc.collect()
        return weakref.WeakSet(each for each in gc.get_objects() if type(each) is Connection)

    before = kept()  # other tests leave some, which may end at any time
    async with (
        asyncpg.create_pool(own_server.url, min_size=1, max_size=1) as client,
        PostgreSQLStore(client=client, table=table) as borrowing,
        PostgreSQLStore(own_server.url, table=table) as store,
    ):
        for number in range(10):
            await borrowing.put("k", number)
            await asyncio.gather(*(store.get("k") for _ in range(3)))
            await client.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name LIKE 'kvwrap-%'"
            )
        assert len(kept() - before) <= 3


@pytest.mark.parametrize("client", ["postgresql://u:hunter2@h/d", asyncpg, object()])
def test_what_is_no_pool_is_refused(client: object) -> None:
    with pytest.raises(ConfigurationError, match="a pool of asyncpg") as caught:
        PostgreSQLStore(client=client)
    assert "hunter2" not in str(caught.value)
