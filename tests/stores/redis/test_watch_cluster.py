"""RedisStore over a cluster: changes are told while slots, masters and nodes come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
import redis.asyncio

from kvwrap import Capability, RedisStore, UnsupportedOperation, ValkeyStore
from kvwrap.core.changes import Scope
from kvwrap.testing.servers import RedisCluster, SharedServers, ValkeyCluster
from tests.stores.redis.moving import Move
from tests.stores.told import Told

KEYS = [f"k{number}" for number in range(60)]
NAMES: set[tuple[str | None, str]] = {(None, key) for key in KEYS}


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """Yield a cluster for one test alone."""
    with RedisCluster() as cluster:
        yield cluster


def _has(told: Told, names: set[tuple[str | None, str]]) -> bool:
    return names <= told.names


def _lost(told: Told, times: int) -> bool:
    return told.losses >= times


@pytest.mark.parametrize("cls", [RedisStore, ValkeyStore])
async def test_every_node_tells(
    servers: SharedServers, namespace: str, cls: type[RedisStore]
) -> None:
    cluster = RedisCluster if cls is RedisStore else ValkeyCluster
    async with cls(servers.url(cluster), namespace=namespace) as store, Told(store) as told:
        await store.put_many(KEYS, KEYS)
        await told.until(partial(_has, told, NAMES))
        written = store.clock.monotonic()
        await told.until(lambda: told.heard_at > written)
        assert told.losses == 0
        assert await store.destroy()


async def test_a_client_of_the_user(servers: SharedServers, namespace: str) -> None:
    cluster = servers.get(RedisCluster)
    client = redis.asyncio.RedisCluster("127.0.0.1", cluster.nodes[0].port)
    async with client, RedisStore(client=client, namespace=namespace) as store:
        async with Told(store) as told:
            await store.put_many(KEYS, KEYS)
            await told.until(partial(_has, told, NAMES))
        await store.destroy()


@pytest.mark.parametrize("raw", [False, True])
async def test_keys_are_told_while_their_slot_moves(
    servers: SharedServers, namespace: str, raw: bool
) -> None:
    cluster = servers.get(RedisCluster)
    keys = [f"{{{namespace}}}{number}" for number in range(3)]
    names: set[tuple[str | None, str]] = {(None, key) for key in keys}
    async with (
        RedisStore(cluster.url, namespace=namespace, raw=raw) as store,
        Told(store) as told,
    ):
        for step in range(3):
            if step == 0:
                await store.put_many(keys, [b"1"] * 3 if raw else [1] * 3)
                move = Move(cluster, keys[0] if raw else f"{namespace}::{keys[0]}")
                move.begin()
            elif step == 1:
                for key in keys:
                    move.name = key if raw else f"{namespace}::{key}"
                    move.move_key()
            else:
                move.end()
            told.take()
            await store.put_many(keys, [b"2"] * 3 if raw else [2] * 3)
            await told.until(partial(_has, told, names))
        assert await store.delete_many(keys) == 3


async def test_a_failed_master_is_told_until_another_one_took_its_place(
    own_cluster: RedisCluster,
) -> None:
    async with RedisStore(own_cluster.url) as store, Told(store) as told:
        await store.put_many(KEYS, KEYS)
        own_cluster.nodes[0].kill()
        await told.until(partial(_lost, told, 2))
        assert b"master" in own_cluster.nodes[3].run("ROLE")[:16]
        told.take()
        async with RedisStore(f"redis+cluster://127.0.0.1:{own_cluster.nodes[1].port}") as other:
            await other.put_many(KEYS, KEYS)
        await told.until(partial(_has, told, NAMES))


async def test_a_master_that_gives_its_place_away(own_cluster: RedisCluster) -> None:
    async with RedisStore(own_cluster.url) as store, Told(store) as told:
        assert own_cluster.nodes[3].run("CLUSTER FAILOVER").startswith(b"+OK")
        await told.until(partial(_lost, told, 2))
        async with asyncio.timeout(60):
            while b"master" not in own_cluster.nodes[3].run("ROLE")[:16]:
                await asyncio.sleep(0.02)
        written = store.clock.monotonic()
        await told.until(lambda: told.heard_at > written)
        told.take()
        await store.put_many(KEYS, KEYS)
        await told.until(partial(_has, told, NAMES))


async def test_a_new_master_is_linked_before_it_has_slots(own_cluster: RedisCluster) -> None:
    new = own_cluster.nodes[3]
    async with RedisStore(own_cluster.url) as store, Told(store) as told:
        # A replica becomes a master without slots.
        assert new.run("CLUSTER RESET SOFT").startswith(b"+OK")
        peer = own_cluster.nodes[1]
        assert new.run(f"CLUSTER MEET 127.0.0.1 {peer.port} {peer.bus_port}").startswith(b"+OK")
        await told.until(partial(_lost, told, 2))
        async with redis.asyncio.Redis(port=new.port) as client:
            async with asyncio.timeout(60):
                while not any("t" in each["flags"] for each in await client.client_list()):
                    await asyncio.sleep(0.02)
        await store.put_many(KEYS, KEYS)
        await told.until(partial(_has, told, NAMES))


async def test_an_account_that_may_not_ask_for_the_masters(servers: SharedServers) -> None:
    rules = "on >pw ~kvwrap:* +@read +@write +@scripting +@connection +cluster|slots"
    for node in servers.get(RedisCluster).nodes:
        assert node.run(f"ACL SETUSER few {rules}").startswith(b"+OK")
        assert node.run(f"ACL SETUSER more {rules} +cluster|nodes").startswith(b"+OK")
    url = servers.url(RedisCluster)
    async with RedisStore(url.replace("://", "://few:pw@")) as store:
        assert Capability.WATCH in store.capabilities
        with pytest.raises(UnsupportedOperation, match=r"\+cluster\|nodes"):
            await store.subscribe(Scope(), print)
        assert Capability.WATCH not in store.capabilities
        await store.check()
        assert Capability.WATCH not in store.capabilities
    async with RedisStore(url.replace("://", "://more:pw@")) as store, Told(store) as told:
        await store.check()
        assert Capability.WATCH in store.capabilities
        await store.put("k", 1)
        await told.until(partial(_has, told, {(None, "k")}))
        await store.delete("k")
