"""Fixtures of the contract tests."""

from __future__ import annotations

import asyncio
import http.client
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from kvwrap.testing import ManualClock
from kvwrap.testing.servers import LocalServer, OpenSearchServer, PostgreSQLServer, SharedServers
from tests.catalog import Resources

NUMBERS = itertools.count()
"""Names of folders that no other test of the process has."""


@pytest.fixture
def resources(
    clock: ManualClock, tmp_path_factory: pytest.TempPathFactory, servers: SharedServers
) -> Iterator[Resources]:
    """Provide what the stores of one test are created with. Tables and indices are dropped."""
    folder = tmp_path_factory.getbasetemp() / f"contract-{next(NUMBERS)}"
    used: list[type[LocalServer]] = []

    def url(kind: type[LocalServer]) -> str:
        used.append(kind)
        return servers.url(kind)

    resources = Resources(clock, folder, url)
    yield resources
    if PostgreSQLServer in used:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(drop_table(servers.url(PostgreSQLServer), resources.name))
        loop.close()
    if OpenSearchServer in used:
        drop_index(servers.url(OpenSearchServer), resources.name)


async def drop_table(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    await connection.close()


def drop_index(url: str, prefix: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("DELETE", f"/{prefix}-000001")
    assert connection.getresponse().status in {200, 404}
    connection.close()
