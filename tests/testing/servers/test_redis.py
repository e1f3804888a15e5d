from __future__ import annotations

import pytest

from kvwrap import RedisStore, StoreUnavailable
from kvwrap.testing import RedisServer


def test_it_serves_until_it_is_stopped() -> None:
    with RedisServer() as server:
        assert server.answers()
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert not server.answers()
    with pytest.raises(StoreUnavailable):
        _ = server.pid


def test_a_restarted_server_uses_the_same_port() -> None:
    with RedisServer() as server:
        port, pid = server.port, server.pid
        server.restart()
        assert server.answers()
        assert server.port == port
        assert server.pid != pid


def test_a_frozen_server_does_not_answer_until_it_is_thawed() -> None:
    with RedisServer() as server:
        server.freeze()
        assert not server.answers(timeout=0.1)
        server.thaw()
        assert server.answers()


def test_a_server_that_requires_a_password_answers_and_refuses_to_flush() -> None:
    with RedisServer("--requirepass", "secret") as server:
        assert server.answers()
        with pytest.raises(StoreUnavailable, match="refused FLUSHALL: -NOAUTH") as raised:
            server.flush()
        assert str(server.port) in str(raised.value)


def test_a_server_that_does_not_start_is_reported_with_its_log() -> None:
    with pytest.raises(StoreUnavailable, match="no-such-option"):
        RedisServer("--no-such-option", "x").start()


async def test_flush_deletes_all_data() -> None:
    with RedisServer() as server:
        async with RedisStore(server.url) as store:
            await store.put("key", 1)
            server.flush()
            assert await store.get("key") is None
            assert await store.keys() == []
        port = server.port
    stopped = RedisServer()
    stopped.port = port
    with pytest.raises(StoreUnavailable, match=f"no answer from Redis at 127.0.0.1:{port}"):
        stopped.flush()
