"""`SharedServers`: one server of each class, started when it is needed."""

from __future__ import annotations

import pytest

from kvwrap import ConfigurationError
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import LocalServer, SharedServers


class MissingServer(LocalServer):
    program_name = "no-such-program-of-a-server"


def test_a_server_is_started_once_and_stopped_at_the_end() -> None:
    with SharedServers() as servers:
        server = servers.get(RedisServer)
        assert servers.get(RedisServer) is server
        assert servers.url(RedisServer) == server.url
        assert server.answers()
    assert not server.answers()


def test_a_server_that_runs_already_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVWRAP_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("KVWRAP_MISSING_URL", "missing://127.0.0.1:2")
    with SharedServers() as servers:
        assert servers.url(RedisServer) == "redis://127.0.0.1:1/0"
        assert servers.url(MissingServer) == "missing://127.0.0.1:2"


def test_a_missing_server_is_named() -> None:
    with (
        SharedServers() as servers,
        pytest.raises(ConfigurationError, match="no-such-program-of-a-server must be installed"),
    ):
        servers.url(MissingServer)
