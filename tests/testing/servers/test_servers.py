"""Servers of one process each: they start, answer, freeze, restart and stop."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from kvwrap.testing.servers import (
    AzuriteServer,
    DynamoDBServer,
    EtcdServer,
    LocalServer,
    MongoDBServer,
    MotoServer,
    NATSServer,
    OpenSearchServer,
)

SERVERS = {
    AzuriteServer: "http",
    DynamoDBServer: "http",
    EtcdServer: "etcd",
    MongoDBServer: "mongodb",
    MotoServer: "http",
    NATSServer: "nats",
    OpenSearchServer: "opensearch",
}
"""The scheme of each server's URL."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.__name__)
def test_it_starts_answers_freezes_restarts_and_stops(kind: type[LocalServer]) -> None:
    with kind() as server:
        assert server.answers(timeout=30)
        assert server.url.startswith(f"{SERVERS[kind]}://127.0.0.1:{server.port}")
        server.freeze()
        assert not server.answers(timeout=0.2)
        server.thaw()
        assert server.answers(timeout=30)
        port, pid = server.port, server.pid
        server.restart()
        assert server.answers(timeout=30)
        assert server.port == port
        assert server.pid != pid
        # It listens on loopback only: addresses of sockets as /proc shows them, with their state.
        assert listening(server.pid) == {"0100007F"}
        pid = server.pid
    assert not server.answers()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def listening(pid: int) -> set[str]:
    """Return the IPv4 addresses that a process listens at, as hexadecimal numbers."""
    process = Path(f"/proc/{pid}")
    sockets = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            sockets.add(str(descriptor.readlink()))
    lines = [
        line
        for name in ("tcp", "tcp6")
        for line in (process / "net" / name).read_text().splitlines()
    ]
    addresses = set()
    for fields in map(str.split, lines):
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            addresses.add(fields[1].partition(":")[0])
    # Java's IPv6 form of an IPv4 address ends with that address.
    return {address[-8:] for address in addresses}
