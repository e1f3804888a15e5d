"""Fixtures of the tests of DynamoDBStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.session import get_session

from kvwrap import DynamoDBStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import DynamoDBServer, SharedServers


@pytest.fixture
def table() -> str:
    """Return the name of a table that no other test uses."""
    return f"Table-{uuid.uuid4().hex}"


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the endpoint of the shared server."""
    return servers.url(DynamoDBServer)


@pytest_asyncio.fixture
async def store(url: str, table: str, clock: ManualClock) -> AsyncIterator[DynamoDBStore]:
    """Yield a store on the shared server."""
    async with DynamoDBStore(
        table, region="eu-1", endpoint_url=url, timeout=60, clock=clock
    ) as store:
        yield store


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[Any]:
    """Yield a client of the shared server."""
    async with get_session().create_client(
        "dynamodb", region_name="eu-1", endpoint_url=url
    ) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[DynamoDBServer]:
    """Yield a server for one test alone."""
    with DynamoDBServer() as server:
        yield server
