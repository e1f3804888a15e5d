"""Fixtures of the tests of MongoDBStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from kvwrap import MongoDBStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import MongoDBServer, SharedServers


@pytest.fixture
def name() -> str:
    """Return the name of a collection of MongoDB that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the URL of a database of the shared server."""
    return f"{servers.url(MongoDBServer)}/kvwrap"


@pytest_asyncio.fixture
async def store(url: str, name: str, clock: ManualClock) -> AsyncIterator[MongoDBStore]:
    """Yield a store on the shared server."""
    async with MongoDBStore(url, collection=name, clock=clock) as store:
        yield store


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[Any]:
    """Yield a client of the shared server."""
    async with pymongo.AsyncMongoClient(url) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[MongoDBServer]:
    """Yield a server for one test alone."""
    with MongoDBServer() as server:
        yield server
