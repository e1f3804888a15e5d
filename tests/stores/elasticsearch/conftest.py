"""Fixtures of the tests of ElasticsearchStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from opensearchpy import AsyncOpenSearch

from kvwrap import ElasticsearchStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import ElasticsearchProxy, OpenSearchServer, SharedServers


@pytest.fixture
def prefix() -> str:
    """Return a prefix of indices that no other test uses."""
    return f"t{uuid.uuid4().hex}"


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the URL of the shared server."""
    return servers.url(OpenSearchServer)


@pytest.fixture
def http_url(url: str) -> str:
    """Return the URL of the shared server, for its driver."""
    return url.replace("opensearch://", "http://")


@pytest.fixture
def proxy(url: str) -> Iterator[ElasticsearchProxy]:
    """Yield the shared server with the face of Elasticsearch."""
    with ElasticsearchProxy(url) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def store(url: str, prefix: str, clock: ManualClock) -> AsyncIterator[ElasticsearchStore]:
    """Yield a store on the shared server, and drop its index."""
    async with ElasticsearchStore(url, index_prefix=prefix, timeout=60, clock=clock) as store:
        yield store
        await store.destroy()


@pytest_asyncio.fixture
async def client(http_url: str) -> AsyncIterator[Any]:
    """Yield a client of the shared server."""
    async with AsyncOpenSearch([http_url], timeout=60) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[OpenSearchServer]:
    """Yield a server for one test alone."""
    with OpenSearchServer() as server:
        yield server
