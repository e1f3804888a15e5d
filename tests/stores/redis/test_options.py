"""RedisStore: clients, URLs and arguments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from kvwrap import ConfigurationError, InvalidKey, StoreUnavailable
from kvwrap.stores.redis import RedisStore
from tests.stores.redis.client_list import connections


async def test_a_client_of_the_user_is_used_and_not_closed(client: Any, namespace: str) -> None:
    async with RedisStore(client=client, namespace=namespace) as store:
        await store.put("a", 1)
        assert await store.increment("a") == 2
    assert await client.ping() is True
    assert await client.delete(f"{namespace}::a") == 1


async def test_its_own_connections_are_closed(redis_url: str, namespace: str, client: Any) -> None:
    store = RedisStore(f"{redis_url}?client_name={namespace}", namespace=namespace)
    await asyncio.gather(*(store.get("a") for _ in range(5)))
    assert await connections(client, namespace)
    await store.close()
    async with asyncio.timeout(10):
        while await connections(client, namespace):  # until the server has noticed
            await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get("a")
    async with store:
        assert await store.get("a") is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "http://localhost"},
        {"url": "localhost:6379"},
        {"url": "redis://host:port"},
        {"url": "redis://user:hunter2@host/0?no_such_option=1"},
        {"url": "redis://localhost", "host": "localhost"},
        {"client": redis.asyncio.Redis(), "url": "redis://localhost"},
        {"client": redis.asyncio.Redis(), "password": "hunter2"},
        {"client": redis.asyncio.Redis(decode_responses=True)},
        {"client": redis.Redis()},
        {"client": object()},
        {"namespace": ""},
        {"namespace": 5},
        {"timeout": 0},
        {"timeout": -1},
        {"max_connections": 0},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, InvalidKey)) as caught:
        RedisStore(**arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", "did you mean 'redis://localhost:6379'"),
        ("localhost", "a text without a scheme"),
        ("http://localhost", "the scheme 'http'"),
        ("redis://host:port", "a port from 0 to 65535"),
        ("redis://host?client_nam=x", "'client_nam': did you mean 'client_name'"),
        ("redis://host?zzz=x", "unknown URL option 'zzz': see the arguments"),
        ("redis://host?namespace=x", "pass namespace= to RedisStore"),
        ("redis://host?socket_timeout=x", "check socket_timeout"),
        (b"redis://host", "`url` must be a string .*; got bytes"),
    ],
)
def test_the_error_of_an_invalid_url_says_what_to_write(url: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RedisStore(url)


async def test_urls(redis_url: str) -> None:
    store = RedisStore.from_url(f"{redis_url}?raw=true&timeout=none&max_connections=3")
    assert store.arguments == {
        "url": redis_url,
        "raw": True,
        "timeout": None,
        "max_connections": 3,
    }
    assert RedisStore.from_url("rediss://h?ssl_cert_reqs=none&namespace=n").arguments == {
        "url": "rediss://h?ssl_cert_reqs=none",
        "namespace": "n",
    }
    async with RedisStore.from_url("unix:///nowhere/redis.sock?db=2") as unix:
        with pytest.raises(StoreUnavailable):
            await unix.check()
    for url in ("redis://h?raw=perhaps", "redis://h?timeout=x", "redis://h?nothing=1", "memory://"):
        with pytest.raises(ConfigurationError):
            RedisStore.from_url(url)
