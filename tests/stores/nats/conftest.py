"""Fixtures of the tests of NATSStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
import pytest
import pytest_asyncio

from kvwrap import NATSStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import NATSServer, SharedServers


@pytest.fixture
def bucket() -> str:
    """Return the name of a bucket that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the URL of the shared server."""
    return servers.url(NATSServer)


@pytest_asyncio.fixture
async def store(url: str, bucket: str, clock: ManualClock) -> AsyncIterator[NATSStore]:
    """Yield a store on the shared server."""
    async with NATSStore(url, bucket=bucket, clock=clock) as store:
        yield store


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[Any]:
    """Yield a client of the shared server."""
    client = await nats.connect(url)
    yield client
    await client.close()


@pytest.fixture
def own_server() -> Iterator[NATSServer]:
    """Yield a server for one test alone."""
    with NATSServer() as server:
        yield server
