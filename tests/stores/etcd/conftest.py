"""Fixtures of the tests of EtcdStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from grpclib.client import Channel

from kvwrap import EtcdStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import EtcdServer, SharedServers


@pytest.fixture
def prefix() -> str:
    """Return a prefix of keys that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the URL of the shared server."""
    return servers.url(EtcdServer)


@pytest_asyncio.fixture
async def store(url: str, prefix: str, clock: ManualClock) -> AsyncIterator[EtcdStore]:
    """Yield a store on the shared server."""
    async with EtcdStore(url, prefix=prefix, clock=clock) as store:
        yield store


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[Channel]:
    """Yield a channel of the driver to the shared server."""
    host, _, port = url.removeprefix("etcd://").partition(":")
    channel = Channel(host, int(port))
    yield channel
    channel.close()


@pytest.fixture
def own_server() -> Iterator[EtcdServer]:
    """Yield a server for one test alone."""
    with EtcdServer() as server:
        yield server
