"""Fixtures of the tests of MemcachedStore."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator

import pytest

from kvwrap.testing.servers import MemcachedServer, SharedServers


@pytest.fixture
def namespace() -> str:
    """Return a namespace that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def url(servers: SharedServers) -> str:
    """Return the URL of the shared server."""
    return servers.url(MemcachedServer)


@pytest.fixture
def own_server() -> Iterator[MemcachedServer]:
    """Yield a server for one test alone."""
    with MemcachedServer() as server:
        yield server


async def talk(url: str, command: bytes, end: bytes = b"\r\n") -> bytes:
    """Send a command of memcached's protocol, and return what comes up to `end`."""
    host, _, port = url.partition("://")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 26)
    writer.write(command + b"\r\n")
    answer = await reader.readuntil(end)
    writer.close()
    await writer.wait_closed()
    return answer


class TLSServer(MemcachedServer):
    """Speaks TLS only, so the question whether it is ready is that for a connection."""

    def answers(self, timeout: float = 1.0) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=timeout).close()
        except OSError:
            return False
        return True
