"""Keys that the server's ACL keeps from this login: no outage, and told from one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from kvwrap import (
    AccessDenied,
    Capability,
    MemoryStore,
    RedisStore,
    Store,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import RedisCluster, SharedServers

CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "put": lambda store: store.put("k", 1, collection="secret"),
    "get": lambda store: store.get("k", collection="secret"),
    "put_many": lambda store: store.put_many(["a", "b"], [1, 2], collection="secret"),
    "put_many, ttl": lambda store: store.put_many(["a", "b"], [1, 2], collection="secret", ttl=9),
    "put_if_absent": lambda store: store.put_if_absent("k", 1, collection="secret"),
    "delete": lambda store: store.delete("k", collection="secret"),
    "expire": lambda store: store.expire("k", 4, collection="secret"),
    "increment": lambda store: store.increment("k", collection="secret"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    rules = ("on", ">pw", "~kvwrap::*", "~kvwrap:open:*", "+@all")
    with RedisServer("--user", "app", *rules) as started:
        yield started


@pytest.fixture
def url(server: RedisServer) -> str:
    return server.url.replace("redis://", "redis://app:pw@")


@pytest.mark.parametrize("call", CALLS)
async def test_a_key_outside_the_acl_is_denied(url: str, call: str) -> None:
    async with RedisStore(url) as store:
        with pytest.raises(AccessDenied, match="key patterns of its ACL") as caught:
            await CALLS[call](store)
        assert not isinstance(caught.value, StoreUnavailable)
        assert caught.value.collection == "secret"
        await store.put("k", 1, collection="open")


async def test_a_denied_key_opens_no_circuit_and_no_journal_accepts_it(
    url: str, tmp_path: object
) -> None:
    layers = stack().fallback(MemoryStore(), writes="journal", journal=f"{tmp_path}/j", failures=1)
    async with layers.over(RedisStore(url)) as store:
        for call in ("put", "delete", "increment"):
            with pytest.raises(AccessDenied):
                await CALLS[call](store)
        snapshot = store.find(Fallback).snapshot()
        assert (snapshot.state, snapshot.pending) == ("closed", 0)
        await store.put("k", 1)


RIGHTS = ("on", ">pw", "~kvwrap:*", "+@read", "+@write", "+@scripting", "+@connection")


@pytest.mark.parametrize("cluster", [False, True])
async def test_an_account_with_few_rights_has_every_capability(
    servers: SharedServers, own_server: RedisServer, cluster: bool
) -> None:
    rules = [*RIGHTS, *(["+cluster|slots"] if cluster else [])]
    nodes = servers.get(RedisCluster).nodes if cluster else [own_server]
    for node in nodes:
        assert node.run(f"ACL SETUSER app {' '.join(rules)}").startswith(b"+OK")
    url = servers.url(RedisCluster) if cluster else own_server.url
    keys = [f"k{number}" for number in range(50)]
    async with RedisStore(url.replace("://", "://app:pw@")) as store:
        await store.check()
        await store.put_many(keys, keys)
        await store.put_many(keys, keys, ttl=50)
        assert await store.get_many(keys) == keys
        assert await store.increment("n") == 1
        assert await store.put_if_absent("n", 1) is False
        versioned = await store.get_versioned("n")
        assert versioned is not None
        assert await store.compare_and_put("n", "x" * 2_000_000, versioned.version)
        assert await store.delete("n") is True
        await store.put("a", 1, collection="c")
        assert await store.collections() == ["c"]
        assert sorted(await store.keys()) == sorted(keys)
        assert await store.destroy_collection("c") is True
        assert await store.count() == 50
        assert await store.destroy() is True


async def test_a_cluster_that_the_account_may_not_ask_about(
    servers: SharedServers,
) -> None:
    for node in servers.get(RedisCluster).nodes:
        node.run(f"ACL SETUSER few {' '.join(RIGHTS)}")
    url = servers.url(RedisCluster).replace("://", "://few:pw@")
    async with RedisStore(url) as store:
        with pytest.raises(StoreUnavailable, match="check the login and its permissions"):
            await store.get("a")


@pytest.mark.parametrize("cluster", [False, True])
async def test_an_account_that_may_run_no_scripts_says_so(
    servers: SharedServers, own_server: RedisServer, cluster: bool
) -> None:
    rules = "on >pw ~kvwrap:* +@read +@write +@connection +cluster|slots -@scripting"
    for node in servers.get(RedisCluster).nodes if cluster else [own_server]:
        assert node.run(f"ACL SETUSER plain {rules}").startswith(b"+OK")
    url = servers.url(RedisCluster) if cluster else own_server.url
    async with RedisStore(url.replace("://", "://plain:pw@")) as store:
        await store.check()
        assert store.capabilities == {
            *(Capability.NATIVE_TTL, Capability.PERSISTENT, Capability.SHARED),
            *([] if cluster else [Capability.WATCH]),  # which needs +cluster|nodes
        }
        await store.put_many(["a", "b"], [1, 2], ttl=50)
        assert await store.get_many(["a", "b"]) == [1, 2]
        for call in (
            store.put_if_absent("a", 1),
            store.increment("a"),
            store.keys(),
            store.count(),
            store.destroy(),
        ):
            with pytest.raises(UnsupportedOperation, match=r"grant it \+@scripting"):
                await call
    async with RedisStore(servers.url(RedisCluster) if cluster else own_server.url) as store:
        await store.check()
        assert store.capabilities == RedisStore.capabilities
        await store.destroy()
