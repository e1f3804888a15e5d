"""RedisStore over a cluster: batches over nodes, keys that move, nodes that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    RedisStore,
    StoreTimeout,
    StoreUnavailable,
    store_from_url,
)
from kvwrap.stores.redis.node import Node
from kvwrap.testing.servers import RedisCluster, RedisServer
from tests.stores.redis.moving import Move

KEYS = [f"k{number}" for number in range(100)]


@pytest.fixture
def cluster(servers: Any) -> RedisCluster:
    """Return the cluster that tests share."""
    started: RedisCluster = servers.get(RedisCluster)
    return started


@pytest.fixture
def own_cluster() -> Any:
    """Yield a cluster for one test alone, without failover, so that a node stays away."""
    with RedisCluster("--cluster-replica-no-failover", "yes") as cluster:
        yield cluster


@pytest_asyncio.fixture
async def store(cluster: RedisCluster, namespace: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(cluster.url, namespace=namespace) as store:
        yield store
        await store.destroy()


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of the nodes to which a round trip was made."""
    made: list[Any] = []
    run = Node.run

    async def counted(self: Node, *arguments: Any) -> Any:
        made.append(self.server)
        return await run(self, *arguments)

    monkeypatch.setattr(Node, "run", counted)
    return made


async def test_a_batch_is_one_round_trip_to_each_node(
    store: RedisStore, round_trips: list[Any]
) -> None:
    await store.delete_many(KEYS)  # the nodes learn the script
    for call in (
        store.get_many(KEYS),
        store.put_many(KEYS, KEYS),
        store.put_many(KEYS, KEYS, ttl=50),
        store.delete_many(KEYS),
        store.check(),
    ):
        round_trips.clear()
        await call
        assert len(round_trips) == len(set(round_trips)) == 3


async def test_every_node_has_its_keys(
    store: RedisStore, cluster: RedisCluster, namespace: str
) -> None:
    await store.put_many(KEYS, list(range(100)), ttl=100)
    assert await store.get_many([*KEYS, "none"]) == [*range(100), None]
    for node in cluster.masters:
        async with redis.asyncio.Redis(port=node.port) as client:
            names = [name async for name in client.scan_iter(f"{namespace}:*")]
            assert 10 < len(names) < 60
            assert 90_000 < await client.pttl(names[0]) <= 100_001
    assert sorted(await store.keys()) == sorted(KEYS)
    assert await store.count(prefix="k1") == 11
    assert await store.delete_where(prefix="k1") == 11
    await store.put("a", 1, collection="c")
    assert await store.collections() == ["c"]
    async with RedisStore(cluster.url, namespace=f"{namespace}x") as other:
        await other.put("a", 1)
        assert await store.destroy() is True
        assert await other.keys() == ["a"]
        await other.destroy()


async def test_names_in_braces_put_keys_on_one_node(
    cluster: RedisCluster, namespace: str, round_trips: list[Any]
) -> None:
    async with RedisStore(cluster.url, namespace=f"{{{namespace}}}") as store:
        await store.put_many(KEYS, KEYS)
        round_trips.clear()
        assert await store.get_many(KEYS) == KEYS
        assert len(round_trips) == 1
        await store.destroy()


async def test_data_of_another_program(cluster: RedisCluster, namespace: str) -> None:
    host = redis.asyncio.cluster.ClusterNode("127.0.0.1", cluster.nodes[0].port)
    names = [f"{namespace}:{key}" for key in KEYS]
    async with (
        redis.asyncio.RedisCluster(startup_nodes=[host]) as client,
        RedisStore(cluster.url, raw=True) as store,
    ):
        for number, name in enumerate(names):
            await client.set(name, number, px=100_000 if number % 2 else None)
        assert await store.get_many(KEYS, collection=namespace) == [b"%d" % n for n in range(100)]
        lifetimes = [left for _, left in await store.ttl_many(KEYS, collection=namespace)]
        assert [left is None for left in lifetimes] == [True, False] * 50
        assert await store.increment("k7", 5, collection=namespace) == 12
        await client.delete(names[3])
        await client.hset(names[3], "field", "x")
        with pytest.raises(CorruptEntry, match="has put a hash there"):
            await store.get_many(KEYS, collection=namespace)
        assert len(await store.keys(namespace)) == 99
        await store.destroy_collection(namespace)
        assert await client.hgetall(names[3]) == {b"field": b"x"}
        await client.delete(names[3])


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_client_of_the_user_is_used_and_not_closed(
    own_cluster: RedisCluster, protocol: int
) -> None:
    host = redis.asyncio.cluster.ClusterNode("127.0.0.1", own_cluster.nodes[2].port)
    async with redis.asyncio.RedisCluster(startup_nodes=[host], protocol=protocol) as client:
        async with RedisStore(client=client) as store:
            assert f"127.0.0.1:{host.port}" in store.location
            await store.put_many(KEYS, KEYS)
            assert await store.get_many(KEYS) == KEYS
            assert await store.increment("n") == 1
            assert sorted(await store.keys()) == sorted([*KEYS, "n"])
        assert await client.get("kvwrap::n") is not None
        async with RedisStore(client=client) as store:
            own_cluster.nodes[0].kill()
            with pytest.raises(StoreUnavailable, match=f":{own_cluster.nodes[0].port}"):
                await store.put_many(KEYS, KEYS)


@pytest.mark.parametrize("raw", [False, True])
async def test_keys_that_move_are_followed(
    cluster: RedisCluster, namespace: str, raw: bool
) -> None:
    keys = [f"{{{namespace}}}{number}" for number in range(4)]
    async with RedisStore(cluster.url, namespace=namespace, raw=raw) as store:
        values = [b"1", b"2", b"3", b"4"] if raw else [1, 2, 3, 4]
        await store.put_many(keys, values)
        move = Move(cluster, keys[0] if raw else f"{namespace}::{keys[0]}")
        move.begin()
        move.move_key()
        for _ in range(2):
            assert await store.get_many(keys) == values
            assert await store.increment(keys[0], 0) == 1
            assert await store.put_if_absent(keys[0], values[0]) is False
            await store.put_many([*keys, f"{{{namespace}}}new"], [*values, values[0]])
            await store.put_many(keys, values, ttl=90)
            assert (await store.ttl(keys[0]))[0] == values[0]
            assert await store.delete(f"{{{namespace}}}new") is True
            assert set(keys) <= set(await store.keys())
        # Without the remaining keys, which the nodes would not find any more.
        for key in keys[1:]:
            move.name = key if raw else f"{namespace}::{key}"
            move.move_key()
        move.end()
        assert await store.get_many(keys) == values
        assert await store.delete_many(keys) == 4


async def test_a_listing_begins_again_when_slots_have_moved(
    cluster: RedisCluster, namespace: str
) -> None:
    name = f"{{{namespace}}}"
    keys = [f"{name}{number}" for number in range(1000)]
    async with RedisStore(cluster.url, namespace=namespace) as store:
        await store.put_many([*KEYS, *keys], [1] * 1100)
        listing = store.scan()
        listed = [await anext(listing) for _ in range(10)]
        move = Move(cluster, f"{namespace}::{keys[0]}")
        move.begin()
        for key in keys:
            move.name = f"{namespace}::{key}"
            move.move_key()
        move.end()
        await store.get(keys[0])  # it learns that the slot has moved
        listed += [key async for key in listing]
        assert sorted(listed) == sorted([*KEYS, *keys])
        await store.destroy()


async def test_a_node_that_is_gone_fails_its_keys_alone(own_cluster: RedisCluster) -> None:
    url = f"{own_cluster.url}?timeout=10"
    async with store_from_url(url) as store:
        await store.put_many(KEYS, KEYS)
        gone = own_cluster.nodes[1]
        gone.kill()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{gone.port}") as caught:
            await store.put_many(KEYS, KEYS, ttl=50)
        done = caught.value.succeeded
        assert done
        assert 40 < len(done) < 90
        with pytest.raises(StoreUnavailable):
            await store.check()
        gone.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await store.put_many(KEYS, KEYS)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        assert await store.get_many(KEYS) == KEYS


async def test_a_write_that_was_given_up_at_a_node_replaces_nothing_later(
    own_cluster: RedisCluster,
) -> None:
    async with RedisStore(own_cluster.url, timeout=2) as store:
        await store.put_many(KEYS, [0] * 100)
        frozen = own_cluster.nodes[0]
        frozen.freeze()
        with pytest.raises(StoreTimeout) as caught:
            await store.put_many(KEYS, [1] * 100, ttl=500)
        frozen.thaw()
        done = set(caught.value.succeeded or ())
        rest = [key for key in KEYS if key not in done]
        assert 10 < len(rest) < 60
        async with asyncio.timeout(60):
            while True:
                try:
                    await store.put_many(rest, [2] * len(rest))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        for _ in range(20):  # what is left in the sockets of the frozen node would come now
            assert await store.get_many(rest) == [2] * len(rest)


async def test_a_server_that_is_no_cluster(own_server: RedisServer) -> None:
    url = own_server.url.replace("redis://", "redis+cluster://")
    async with RedisStore(url) as store:
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
            await store.get("a")


async def test_one_node_that_answers_is_enough_to_find_the_others(
    cluster: RedisCluster, namespace: str
) -> None:
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{cluster.nodes[4].port}"
    async with RedisStore(url, namespace=namespace) as store:
        await store.put_many(KEYS, KEYS)
        assert await store.count() == 100
        await store.destroy()
    async with RedisStore("redis+cluster://:hunter2@127.0.0.1:1,127.0.0.1:2") as store:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:2 .* refused") as caught:
            await store.get("a")
        assert "hunter2" not in str(caught.value)


async def test_nothing_is_left_open_after_close(cluster: RedisCluster, namespace: str) -> None:
    async with RedisStore(f"{cluster.url}?client_name={namespace}", namespace=namespace) as store:
        await store.put_many(KEYS, KEYS)
        await store.destroy()
    async with asyncio.timeout(60):
        for node in cluster.nodes:
            while f"name={namespace} ".encode() in node.run("CLIENT LIST"):
                await asyncio.sleep(0.01)  # until the server has noticed


async def test_one_event_loop_after_another(cluster: RedisCluster, namespace: str) -> None:
    store = RedisStore(cluster.url, namespace=namespace)

    def use() -> list[Any]:
        return asyncio.run(store.get_many(KEYS))

    await store.put_many(KEYS, KEYS)
    await store.close()
    await store.open()
    for _ in range(2):
        assert await asyncio.to_thread(use) == KEYS
    await store.destroy()
    await store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+cluster://h/1", "a cluster has only database 0"),
        ("redis://h:1,h:2", "must begin with redis\\+cluster:// or redis\\+sentinel://"),
        ("redis+cluster://h:x", "host:port,host:port"),
        ("redis+cluster://h?client_nam=x", "did you mean 'client_name'"),
        ("redis+cluster://h?sentinel_password=x", "need a URL of Sentinel"),
    ],
)
def test_urls_that_are_none_of_a_cluster(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        store_from_url(url)


def test_the_location_of_a_cluster_names_its_nodes() -> None:
    store = RedisStore("redis+cluster://u:hunter2@one,two:2")
    assert "one:6379, two:2" in store.location
    assert "hunter2" not in store.location + repr(store)
