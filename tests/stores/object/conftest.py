"""Fixtures of the tests of ObjectStore."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from obstore.store import AzureStore, S3Store

from kvwrap import ObjectStore
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import AzuriteServer, MotoServer, SharedServers
from tests.buckets import BUCKET, azure_container, s3_bucket


@dataclass
class Service:
    """A bucket on a shared server, with a prefix that no other test uses."""

    url: str
    endpoint: str
    prefix: str
    clock: ManualClock

    def store(self, **arguments: Any) -> ObjectStore:
        """Return a store."""
        given = {"prefix": self.prefix, "endpoint": self.endpoint, "clock": self.clock}
        return ObjectStore(self.url, **{"timeout": 60, **given, **arguments})

    def client(self, **arguments: Any) -> S3Store | AzureStore:
        """Return a store of the driver."""
        given: dict[str, Any] = {
            "endpoint": self.endpoint,
            "client_options": {"allow_http": True},
            "retry_config": {"max_retries": 0},
            **arguments,
        }
        if self.url.startswith("s3"):
            return S3Store(BUCKET, **given)
        account, _, key = AzuriteServer.login.partition(":")
        return AzureStore(BUCKET, account_name=account, account_key=unquote(key), **given)


@pytest.fixture(params=["s3", "az"])
def service(request: pytest.FixtureRequest, servers: SharedServers, clock: ManualClock) -> Service:
    """Return the shared server of S3, and that of Azure."""
    prefix = f"tests/{uuid.uuid4().hex}"
    if request.param == "s3":
        endpoint = servers.url(MotoServer)
        return Service(s3_bucket(endpoint), endpoint, prefix, clock)
    endpoint = servers.url(AzuriteServer)
    return Service(azure_container(endpoint), endpoint, prefix, clock)


@pytest_asyncio.fixture
async def store(service: Service) -> AsyncIterator[ObjectStore]:
    """Yield a store on a shared server."""
    async with service.store() as store:
        yield store


@pytest.fixture
def client(service: Service) -> S3Store | AzureStore:
    """Return the driver's store of the same bucket."""
    return service.client()


@pytest.fixture
def own_server() -> Iterator[MotoServer]:
    """Yield a server of S3 for one test alone, with a bucket."""
    with MotoServer() as server:
        server.make_bucket(server.url, BUCKET)
        yield server
