from __future__ import annotations

import asyncio

import asyncpg
import pytest

from kvwrap import PostgreSQLStore, StoreUnavailable
from kvwrap.testing.servers import PgBouncerServer, PostgreSQLServer


async def backends(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM pg_stat_activity")
        return count
    finally:
        await connection.close()


def test_it_serves_until_it_is_stopped() -> None:
    with PostgreSQLServer() as server:
        assert server.answers()
        assert server.url == f"postgresql://kvwrap@127.0.0.1:{server.port}/postgres"
        assert asyncio.run(backends(server.url)) > 1
    assert not server.answers()
    with pytest.raises(StoreUnavailable):
        _ = server.pid


def test_all_its_processes_are_frozen_and_killed() -> None:
    async def use() -> None:
        async with PostgreSQLStore(server.url, timeout=1) as store:
            await store.put("k", 1)
            server.freeze()
            with pytest.raises(StoreUnavailable):
                await store.get("k")  # over a connection that has a process of its own
            assert not server.answers(timeout=0.1)
            server.thaw()
            assert server.answers(timeout=20)
        server.kill()
        server.start()
        async with PostgreSQLStore(server.url) as store:
            assert await store.get("k") == 1

    with PostgreSQLServer() as server:
        asyncio.run(use())


def test_arguments_are_settings() -> None:
    with PostgreSQLServer("-c", "max_connections=7") as server:

        async def ask() -> object:
            connection = await asyncpg.connect(server.url)
            try:
                return await connection.fetchval("SHOW max_connections")
            finally:
                await connection.close()

        assert asyncio.run(ask()) == "7"


def test_a_pooler_is_before_a_server() -> None:
    with PostgreSQLServer() as server, PgBouncerServer(server, mode="session") as pooler:
        assert pooler.answers()
        assert pooler.port != server.port
        assert asyncio.run(backends(pooler.url)) > 1
        server.kill()
        assert pooler.answers()
