"""Fixtures of the tests of PostgreSQLStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from kvwrap import PostgreSQLStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import PostgreSQLServer, SharedServers


@pytest.fixture
def table() -> str:
    """Return the name of a table that no other test uses."""
    return f"t{uuid.uuid4().hex[:16]}"


@pytest.fixture
def server(servers: SharedServers) -> PostgreSQLServer:
    """Return the server that tests share."""
    return servers.get(PostgreSQLServer)


@pytest.fixture
def url(server: PostgreSQLServer) -> str:
    """Return the URL of the server that tests share."""
    return server.url


@pytest_asyncio.fixture
async def admin(url: str, table: str) -> AsyncIterator[Any]:
    """Yield a connection of the driver to the shared server; drop the table at the end."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.execute(f'DROP TABLE IF EXISTS "{table}"')
    await connection.close()


@pytest_asyncio.fixture
async def store(
    url: str, table: str, admin: Any, clock: ManualClock
) -> AsyncIterator[PostgreSQLStore]:
    """Yield a store on the shared server."""
    async with PostgreSQLStore(url, table=table, clock=clock) as store:
        yield store


@pytest.fixture
def own_server() -> Iterator[PostgreSQLServer]:
    """Yield a server for one test alone."""
    with PostgreSQLServer() as server:
        yield server
