"""PostgreSQLStore: a write that was given up never replaces one that was acknowledged later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg
import pytest

from kvwrap import PostgreSQLStore, StoreTimeout
from kvwrap.testing.servers import PgBouncerServer, PostgreSQLServer
from tests.stores.redis.proxy import Proxy

T = TypeVar("T")
Opened = Callable[[str, str], AbstractAsyncContextManager[PostgreSQLStore]]


@asynccontextmanager
async def by_url(url: str, table: str) -> AsyncIterator[PostgreSQLStore]:
    async with PostgreSQLStore(url, table=table, timeout=1) as store:
        yield store


@asynccontextmanager
async def by_client(url: str, table: str) -> AsyncIterator[PostgreSQLStore]:
    async with (
        # To cancel, the driver connects once more. If that is cut off while it asks for TLS, it
        # leaves a future behind that nobody awaits.
        asyncpg.create_pool(url, min_size=1, max_size=4, ssl=False) as client,
        PostgreSQLStore(client=client, table=table, timeout=1) as store,
    ):
        yield store


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until it is answered: on a busy machine a second may be too short."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StoreTimeout):
                return await call()


async def put(store: PostgreSQLStore, key: str, value: object) -> None:
    """Put until it is acknowledged."""
    await answered(partial(store.put, key, value))


async def settled(url: str, table: str, key: str) -> Any:
    """Return the value in the server after everything that was under way has arrived."""
    async with PostgreSQLStore(url, table=table, timeout=30) as other:
        for _ in range(5):
            await asyncio.sleep(0.03)
            value = await other.get(key)
        return value


@pytest.mark.parametrize("size", [1, 3_000_000])
@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_a_write_that_timed_out_never_replaces_a_later_one(
    own_server: PostgreSQLServer, opened: Opened, table: str, size: int
) -> None:
    async with opened(own_server.url, table) as store:
        await put(store, "warm", 1)
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.put("k", "old" + "x" * size)
        own_server.thaw()
        await put(store, "k", "new")
        assert await settled(own_server.url, table, "k") == "new"


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_writes_that_wait_for_a_lock_and_are_cancelled(
    url: str, opened: Opened, table: str, admin: Any
) -> None:
    async with opened(url, table) as store:
        await put(store, "k", "first")
        lock = admin.transaction()
        await lock.start()
        await admin.execute(f'SELECT * FROM "{table}" FOR UPDATE')
        waiting = [asyncio.create_task(store.put("k", f"old {n}")) for n in range(3)]
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(60):
            while await admin.fetchval(query) < 1:
                await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # They still wait in the server. The next call ends them before anything else.
        assert await answered(partial(store.get, "k")) == "first"
        await lock.rollback()
        await put(store, "k", "new")
        assert await settled(url, table, "k") == "new"


async def test_cancelled_at_every_moment(url: str, table: str, admin: Any) -> None:
    async with PostgreSQLStore(url, table=table, timeout=30) as store:
        await store.put("k", 0)
        for number in range(60):
            task = asyncio.create_task(store.put("k", f"old {number}"))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.put("k", number)
            assert await store.get("k") == number
        assert await settled(url, table, "k") == 59
        assert store.idle


async def test_a_write_that_a_proxy_holds_back(
    server: PostgreSQLServer, table: str, admin: Any
) -> None:
    async with Proxy(server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        async with PostgreSQLStore(url, table=table, timeout=1) as store:
            await put(store, "k", "first")
            proxy.hold()
            with pytest.raises(StoreTimeout):
                await store.put("k", "old")
            await put(store, "k", "new")  # over a new connection, which is not held
            proxy.release()
            assert await settled(server.url, table, "k") == "new"


async def test_a_write_given_up_behind_pgbouncer(
    server: PostgreSQLServer, table: str, admin: Any
) -> None:
    with PgBouncerServer(server) as bouncer:
        async with PostgreSQLStore(bouncer.url, table=table, timeout=1) as store:
            await put(store, "k", "first")
            lock = admin.transaction()
            await lock.start()
            await admin.execute(f'SELECT * FROM "{table}" FOR UPDATE')
            with pytest.raises(StoreTimeout):
                await store.put("k", "old")
            assert await answered(partial(store.get, "k")) == "first"
            await lock.rollback()
            await put(store, "k", "new")
            assert await settled(server.url, table, "k") == "new"


async def test_reads_that_are_cancelled_end_no_other_connection(
    url: str, table: str, admin: Any
) -> None:
    async with PostgreSQLStore(url, table=table, timeout=30) as store:
        await store.put("k", 1)
        for _ in range(10):
            tasks = [asyncio.create_task(store.get("k")) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert results[1::2] == [1] * 10
