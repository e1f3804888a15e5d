"""RedisStore: answers that say that the server cannot serve, or not this key, or not now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from kvwrap import RedisStore, Store, StoreUnavailable, ValueTooLarge, stack
from kvwrap.testing.servers import RedisServer, SharedServers
from tests.stores.redis.scripted import ScriptedServer

ELSEWHERE = {
    "LOADING Redis is loading the dataset in memory": "is loading its data into memory",
    "MOVED 3999 127.0.0.2:6381": "is part of a cluster",
    "ASK 3999 127.0.0.2:6381": "is part of a cluster",
    "CLUSTERDOWN Hash slot not served": "is part of a cluster",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": (
        "has lost its master"
    ),
    "READONLY You can't write against a read only replica.": "is a read-only replica",
}
"""Answers of a server that is not the one to ask, with what the error says."""

HERE = {
    "TRYAGAIN Multiple keys request during rehashing of slot": "refused the command",
    "BUSY Redis is busy running a script.": "refused the command",
    "ERR unknown": "refused the command",
}
"""Answers of a server that is the right one."""

CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get": lambda store: store.get("k"),
    "get_many": lambda store: store.get_many(["k", "l"]),
    "put": lambda store: store.put("k", 1),
    "put_many": lambda store: store.put_many(["k", "l"], [1, 2]),
    "put_many with a ttl": lambda store: store.put_many(["k", "l"], [1, 2], ttl=5),
    "put_if_absent": lambda store: store.put_if_absent("k", 1),
    "delete": lambda store: store.delete("k"),
}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


async def _connect(store: Store, server: ScriptedServer) -> None:
    """Open two connections, which are idle afterwards."""
    await asyncio.gather(store.get("k"), store.get("l"))
    assert server.connections == 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", ELSEWHERE)
async def test_a_server_that_is_not_the_one_to_ask_loses_its_connections(
    server: ScriptedServer, answer: str, call: str
) -> None:
    async with RedisStore(server.url) as store:
        await _connect(store, server)
        server.fail(answer)
        with pytest.raises(StoreUnavailable, match=ELSEWHERE[answer]) as caught:
            await CALLS[call](store)
        assert str(server.port) in str(caught.value)
        assert "127.0.0.2" not in str(caught.value)  # where it points is not repeated
        server.failures = 0
        # Both connections are gone, not only that which had the answer.
        await asyncio.gather(CALLS[call](store), store.get("k"))
        assert server.connections == 4
        # What was answered cannot be carried out later. The driver reads nothing after LOADING.
        assert server.killed == 0 or answer.startswith("LOADING")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", HERE)
async def test_a_server_that_refuses_one_command_keeps_its_connections(
    server: ScriptedServer, answer: str, call: str
) -> None:
    async with RedisStore(server.url) as store:
        await _connect(store, server)
        server.fail(answer)
        with pytest.raises(StoreUnavailable, match=HERE[answer]):
            await CALLS[call](store)
        server.failures = 0
        await CALLS[call](store)
        assert (server.connections, server.killed) == (2, 0)


async def test_an_answer_after_which_the_server_closes_ends_one_connection(
    server: ScriptedServer,
) -> None:
    async with RedisStore(server.url) as store:
        await _connect(store, server)
        server.fail("ERR Protocol error: invalid bulk length", times=1)
        with pytest.raises(ValueTooLarge, match="larger than proto-max-bulk-len"):
            await store.put("k", 1)
        await asyncio.gather(store.put("k", 1), store.get("k"))
        assert (server.connections, server.killed) == (3, 0)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", [*ELSEWHERE, *HERE])
async def test_retry_repeats_what_such_a_server_refused(
    server: ScriptedServer, answer: str, call: str
) -> None:
    async with stack().retry(attempts=2, wait=0.001).over(RedisStore(server.url)) as store:
        server.fail(answer, times=1)
        await CALLS[call](store)
        assert server.failures == 0


@pytest.mark.parametrize("answer", ELSEWHERE)
async def test_a_script_that_gets_the_answer_within_counts_too(
    server: ScriptedServer, answer: str
) -> None:
    async with RedisStore(server.url) as store:
        await _connect(store, server)
        server.fail(f"ERR Error running script: -{answer}", times=1)
        with pytest.raises(StoreUnavailable):
            await store.put_if_absent("k", 1)
        await asyncio.gather(store.get("k"), store.get("l"))
        assert server.connections == 4


async def test_a_database_that_is_not_there_is_told(servers: SharedServers) -> None:
    url = f"{servers.url(RedisServer).rpartition('/')[0]}/9999"
    with pytest.raises(StoreUnavailable, match="has no database of the URL's number"):
        async with RedisStore(url) as store:
            await store.get("k")
