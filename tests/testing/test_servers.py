from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvwrap import ConfigurationError, RedisStore, StoreUnavailable
from kvwrap.testing import RedisServer


def test_serves_until_it_is_stopped() -> None:
    with RedisServer() as server:
        assert server.answers()
    assert not server.answers()
    with pytest.raises(StoreUnavailable):
        _ = server.pid


def test_restarts_on_the_same_port() -> None:
    with RedisServer() as server:
        port, pid = server.port, server.pid
        server.restart()
        assert server.answers()
        assert server.port == port
        assert server.pid != pid


def test_frozen_it_answers_nothing_and_thawed_it_goes_on() -> None:
    with RedisServer() as server:
        server.freeze()
        assert not server.answers(timeout=0.1)
        server.thaw()
        assert server.answers()


def test_leaves_no_folder_and_no_process() -> None:
    with RedisServer() as server:
        pid, folder = server.pid, server._folder
    assert folder is not None
    assert not Path(folder.name).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_will_not_start_tells_why() -> None:
    with pytest.raises(StoreUnavailable, match="no-such-option"):
        RedisServer("--no-such-option", "x").start()


def test_a_missing_program_names_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="make servers"):
        RedisServer(program="no-such-server")


async def test_flushed_it_is_empty() -> None:
    with RedisServer() as server:
        async with RedisStore(server.url) as store:
            await store.put("key", 1)
            server.flush()
            assert await store.get("key") is None
            assert await store.keys() == []
        port = server.port
    stopped = RedisServer()
    stopped.port = port
    with pytest.raises(StoreUnavailable):
        stopped.flush()
