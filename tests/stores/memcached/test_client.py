"""MemcachedStore over the connections of a client of aiomcache."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomcache
import pytest

from kvwrap import (
    ConfigurationError,
    MemcachedStore,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    adapt,
)
from kvwrap.stores.shared.tls import make_tls
from kvwrap.testing.servers import MemcachedServer
from kvwrap.testing.servers.certificates import make_certificates
from tests.stores.memcached.conftest import TLSServer


def client_of(server: MemcachedServer, **arguments: Any) -> aiomcache.Client:
    return aiomcache.Client("127.0.0.1", server.port, **arguments)


@pytest.fixture
async def client(url: str) -> AsyncIterator[aiomcache.Client]:
    """Yield a client for the shared server."""
    client = aiomcache.Client("127.0.0.1", int(url.rpartition(":")[2]), pool_size=1)
    yield client
    await client.close()


async def test_a_client_of_the_user_is_not_closed(
    client: aiomcache.Client, url: str, namespace: str
) -> None:
    async with MemcachedStore(client=client, namespace=namespace, enumerate=True) as store:
        await store.put_many(["a", "b"], [1, "x" * 100_000], ttl=100)
        assert await store.get_many(["a", "b"]) == [1, "x" * 100_000]
        assert await store.put_if_absent("c", 1, collection="x")
        assert await store.increment("c", collection="x") == 2
        assert await store.delete("b")
        assert await store.keys() == ["a"]
        assert await store.collections() == ["x"]
    assert await client.set(b"theirs", b"1")
    assert await client.get(b"theirs") == b"1"
    async with MemcachedStore(url, namespace=namespace) as other:
        assert await other.get("c", collection="x") == 2
    again = MemcachedStore(client=client, namespace=namespace)
    assert await again.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(again.get("a")))


async def test_a_client_for_each_server(url: str, own_server: MemcachedServer) -> None:
    """Keys are on the servers on which they are by URL."""
    keys = [f"k{number}" for number in range(100)]
    both = f"{url},127.0.0.1:{own_server.port}"
    clients = [
        aiomcache.Client("127.0.0.1", int(url.rpartition(":")[2])),
        client_of(own_server),
    ]
    async with MemcachedStore(client=clients, namespace="both") as store:
        assert store.location == MemcachedStore(both, namespace="both").location
        await store.put_many(keys, keys)
        async with MemcachedStore(both, namespace="both") as by_url:
            assert await by_url.get_many(keys) == keys
        own_server.kill()
        with pytest.raises(StoreUnavailable, match=str(own_server.port)) as caught:
            await store.put_many(keys, [0] * 100)
        assert 0 < len(caught.value.succeeded or ()) < 100
    for client in clients:
        await client.close()


async def test_a_cancelled_call_leaves_no_answer_for_the_next(
    client: aiomcache.Client, namespace: str
) -> None:
    async with MemcachedStore(client=client, namespace=namespace) as store:
        await store.put_many(["a", "b"], ["a" * 300_000, "b"])
        await client.set(b"theirs", b"1")
        for turns in range(1, 12):
            reading = asyncio.create_task(store.get("a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert await client.get(b"theirs") == b"1"
            assert await store.get("b") == "b"


async def test_a_server_that_dies_hangs_and_comes_back(own_server: MemcachedServer) -> None:
    where = f"memcached at 127.0.0.1:{own_server.port}"
    client = client_of(own_server)
    async with MemcachedStore(client=client, timeout=20) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.check()):
            with pytest.raises(StoreUnavailable, match=where):
                await call
        own_server.start()
        assert await store.get("a") is None
        await store.put("a", 3)
    async with MemcachedStore(client=client, timeout=0.3) as store:
        assert await store.get("a") == 3
        own_server.freeze()
        with pytest.raises(StoreTimeout, match=where):
            await store.get("a")
        own_server.thaw()
    async with MemcachedStore(client=client, timeout=20) as store:
        assert await store.get("a") == 3
    await client.close()


async def test_the_item_limit_of_each_connection() -> None:
    with MemcachedServer("-I", "2m") as server:
        client = client_of(server, pool_size=1)
        async with MemcachedStore(client=client) as store:
            await store.put("k", "x" * 1_500_000)
            server.arguments = ()
            server.restart()
            with contextlib.suppress(StoreUnavailable):  # the connection to the one before
                await store.get("k")
            await store.put("k", "earlier")
            with pytest.raises(ValueTooLarge):
                await store.put("k", "x" * 1_500_000)
            assert await store.get("k") == "earlier"
        await client.close()


async def test_tls_of_the_client(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    options = f"ssl_chain_cert={files.server_cert},ssl_key={files.server_key}"
    tls = make_tls(True, ca=str(files.ca))
    assert tls is not None
    with TLSServer("-Z", "-o", options) as server:
        client = client_of(server, conn_args={"ssl": tls.context()})
        async with MemcachedStore(client=client) as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
        await client.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"client": object()}, "aiomcache.Client.*; got object"),
        ({"client": []}, "got an empty list"),
        ({"client": [aiomcache.Client("h"), 5]}, "got int"),
        ({"client": aiomcache.Client("h"), "url": "memcached://h"}, "without `url`"),
        ({"client": aiomcache.Client("h"), "tls": True}, "without `url`, `tls`"),
    ],
)
def test_what_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MemcachedStore(**arguments)


def test_a_client_is_not_taken_for_an_object_with_get_and_set() -> None:
    with pytest.raises(ConfigurationError, match=r"use MemcachedStore\(client=\.\.\.\)"):
        adapt(aiomcache.Client("h"))
