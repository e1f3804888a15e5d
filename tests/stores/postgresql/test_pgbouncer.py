"""PostgreSQLStore behind pgbouncer, which gives a connection to one client after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from kvwrap import PostgreSQLStore
from kvwrap.testing.servers import PgBouncerServer, PostgreSQLServer


@pytest.fixture(params=["transaction", "session", "statement"])
def bouncer(request: pytest.FixtureRequest, server: PostgreSQLServer) -> Iterator[PgBouncerServer]:
    with PgBouncerServer(server, mode=request.param) as bouncer:
        yield bouncer


async def use(store: PostgreSQLStore, name: str) -> None:
    keys = [f"{name}-{number}" for number in range(20)]
    for number in range(5):
        await asyncio.gather(*(store.put(key, number) for key in keys))
        assert await store.get_many(keys) == [number] * 20
        await store.increment("n")
    assert await store.put_if_absent(name, 1)
    assert await store.delete_many(keys) == 20


async def test_several_stores_share_the_connections_of_the_server(
    bouncer: PgBouncerServer, table: str, admin: Any
) -> None:
    stores = [
        PostgreSQLStore(bouncer.url, table=table, timeout=30, max_connections=1) for _ in range(4)
    ]
    await asyncio.gather(*(use(store, str(number)) for number, store in enumerate(stores)))
    assert await stores[0].get("n") == 20
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_ready_pool_behind_pgbouncer(
    server: PostgreSQLServer, table: str, admin: Any
) -> None:
    with PgBouncerServer(server) as bouncer:
        async with (
            asyncpg.create_pool(
                bouncer.url, min_size=1, max_size=4, statement_cache_size=0
            ) as pool,
            PostgreSQLStore(client=pool, table=table, timeout=30) as store,
        ):
            await use(store, "a")


async def test_a_restarted_pgbouncer(server: PostgreSQLServer, table: str, admin: Any) -> None:
    with PgBouncerServer(server) as bouncer:
        async with PostgreSQLStore(bouncer.url, table=table) as store:
            await store.put("k", 1)
            bouncer.restart()
            assert await store.get("k") == 1


@pytest.mark.parametrize("prepared", [True, False])
async def test_statements_are_prepared_or_not_by_option(
    url: str, table: str, admin: Any, prepared: bool
) -> None:
    async with PostgreSQLStore(url, table=table, prepared=prepared) as store:
        await use(store, "a")
