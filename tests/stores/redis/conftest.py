"""Fixtures of the tests of RedisStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap.stores.redis import RedisStore
from kvwrap.testing import RedisServer


@pytest.fixture
def namespace() -> str:
    """Return a namespace that no other test uses."""
    return uuid.uuid4().hex


@pytest_asyncio.fixture
async def store(redis_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    """Yield a store on the shared server."""
    async with RedisStore(redis_url, namespace=namespace) as store:
        yield store
        await store.destroy()


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    """Yield a client of the shared server."""
    async with redis.asyncio.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """Yield a server for one test alone."""
    with RedisServer() as server:
        yield server
