"""RedisStore with a service of Sentinel: its master is found, followed and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio

from kvwrap import ConfigurationError, RedisStore, StoreUnavailable, store_from_url
from kvwrap.testing.servers import RedisSentinel, RedisServer


@pytest.fixture
def service(servers: Any) -> RedisSentinel:
    """Return the service that tests share."""
    started: RedisSentinel = servers.get(RedisSentinel)
    return started


@pytest.fixture
def own_service() -> Iterator[RedisSentinel]:
    """Yield a service for one test alone."""
    with RedisSentinel() as service:
        yield service


async def test_the_master_has_the_entries(service: RedisSentinel, namespace: str) -> None:
    async with store_from_url(f"{service.url}/3?namespace={namespace}&timeout=30") as store:
        await store.put("a", 1)
        assert await store.get("a") == 1
        async with redis.asyncio.Redis(port=service.primary.port, db=3) as client:
            assert await client.exists(f"{namespace}::a") == 1
        assert "in database 3 of Redis at Sentinel's service 'main' at 127.0.0.1" in store.location
        await store.destroy()


async def test_a_failover_is_followed_and_listings_begin_again(
    own_service: RedisSentinel,
) -> None:
    keys = [f"k{number}" for number in range(2000)]
    async with RedisStore(own_service.url, timeout=20) as store:
        await store.put_many(keys, keys)
        await _until_replicated(own_service)
        listing = store.scan()
        listed = [await anext(listing) for _ in range(10)]
        # Without a fault: the old master becomes a replica, and the store is connected to it.
        sentinel = own_service.sentinels[0]
        assert sentinel.run("SENTINEL FAILOVER main").startswith(b"+OK")
        async with asyncio.timeout(60):
            while b"slave" not in own_service.primary.run("ROLE"):
                await asyncio.sleep(0.02)
            while True:
                try:
                    await store.put("new", 1)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
        assert str(own_service.replica.port) in _address(own_service)
        listed += [key async for key in listing]
        assert sorted(set(listed)) == sorted([*keys, "new"])
        assert len(listed) == len(set(listed))
        assert await store.count() == 2001


async def test_sentinels_that_are_gone_or_hang_are_passed_over(
    own_service: RedisSentinel,
) -> None:
    first, second, _ = own_service.sentinels
    first.kill()
    second.freeze()
    async with RedisStore(own_service.url, timeout=20) as store:
        await store.put("a", 1)
        assert await store.get("a") == 1
    second.kill()


async def test_no_sentinel_answers() -> None:
    url = "redis+sentinel://u:hunter2@127.0.0.1:1,127.0.0.1:2/main?sentinel_password=hunter3"
    async with store_from_url(url) as store:
        with pytest.raises(StoreUnavailable, match=r"service 'main'.* refused") as caught:
            await store.get("a")
        text = f"{caught.value} {store!r} {store.explain()} {store.location}"
        assert "hunter" not in text


async def test_a_service_that_they_do_not_know(service: RedisSentinel) -> None:
    url = service.url.replace("/main", "/mian")
    async with RedisStore(url) as store:
        with pytest.raises(StoreUnavailable, match="do not know the service 'mian'"):
            await store.get("a")


async def test_a_master_that_has_become_a_replica_is_not_used(own_server: RedisServer) -> None:
    with RedisSentinel() as service:
        for sentinel in service.sentinels[1:]:
            sentinel.kill()
        # The Sentinel that is left cannot know yet.
        service.primary.run(f"REPLICAOF 127.0.0.1 {own_server.port}")
        async with RedisStore(service.url) as store:
            with pytest.raises(StoreUnavailable, match="is a read-only replica"):
                await store.get("a")


async def test_the_sentinels_have_a_login_of_their_own(own_service: RedisSentinel) -> None:
    for sentinel in own_service.sentinels:
        sentinel.run("ACL SETUSER default resetpass >hunter2")
    own_service.primary.run("CONFIG SET requirepass hunter3")
    url = own_service.url.replace("://", "://:hunter3@")
    async with store_from_url(f"{url}?sentinel_password=hunter2") as store:
        await store.put("a", 1)
        assert "hunter" not in repr(store) + store.explain()
    for wrong in (url, f"{own_service.url}?sentinel_password=hunter2"):
        async with store_from_url(wrong) as store:
            with pytest.raises(StoreUnavailable, match="username or password") as caught:
                await store.get("a")
            assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+sentinel://h", "must name the service"),
        ("redis+sentinel://h/main/x", "must name the service"),
        ("redis+sentinel://h/main/1/2", "must name the service"),
        ("redis://h?sentinel_username=x", "need a URL of Sentinel"),
    ],
)
def test_urls_that_are_none_of_sentinels(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        store_from_url(url)


def _address(service: RedisSentinel) -> str:
    return service.sentinels[0].run("SENTINEL GET-MASTER-ADDR-BY-NAME main").decode()


async def _until_replicated(service: RedisSentinel) -> None:
    async with asyncio.timeout(60):
        while service.primary.run("DBSIZE") != service.replica.run("DBSIZE"):
            await asyncio.sleep(0.01)
