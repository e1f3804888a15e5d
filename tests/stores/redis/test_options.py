"""RedisStore: clients, URLs and arguments."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from typing import Any

import pytest
import redis.asyncio

from kvwrap import (
    ConfigurationError,
    InvalidKey,
    StoreTimeout,
    StoreUnavailable,
    from_config,
    store_from_url,
)
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import RedisServer
from tests.stores.redis.client_list import connections


async def test_a_client_of_the_user_is_used_and_not_closed(client: Any, namespace: str) -> None:
    async with RedisStore(client=client, namespace=namespace) as store:
        await store.put("a", 1)
        assert await store.increment("a") == 2
    assert await client.ping() is True
    assert await client.delete(f"{namespace}::a") == 1


async def test_a_pool_of_the_user_may_leave_connecting_to_the_first_command(
    redis_url: str, namespace: str
) -> None:
    class Lazy(redis.asyncio.ConnectionPool):
        async def ensure_connection(self, connection: Any) -> None:
            pass

    async with redis.asyncio.Redis.from_pool(Lazy.from_url(redis_url)) as client:
        store = RedisStore(client=client, namespace=namespace)
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_its_own_connections_are_closed(redis_url: str, namespace: str, client: Any) -> None:
    store = RedisStore(f"{redis_url}?client_name={namespace}", namespace=namespace)
    await asyncio.gather(*(store.get("a") for _ in range(5)))
    assert await connections(client, namespace)
    await store.close()
    async with asyncio.timeout(30):
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
        {"client": redis.asyncio.Redis(encoding="latin-1")},
        {"client": redis.Redis()},
        {"client": object()},
        {"host": ""},
        {"host": 5},
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
    ("name", "value"),
    [
        *(("port", value) for value in (-1, 65_536, "6379", True)),
        *(("db", value) for value in (-1, 2**31, "0")),
        *((name, 5) for name in ("username", "password", "host", "namespace")),
        *((name, "\ud800") for name in ("username", "password", "host", "namespace")),
        *(("timeout", value) for value in (0, -1, "1")),
        *(("max_connections", value) for value in (0, 1.5)),
    ],
)
def test_the_error_of_an_invalid_argument_names_it(name: str, value: Any) -> None:
    with pytest.raises((ConfigurationError, InvalidKey), match=f"`?{name}`? "):
        RedisStore(**{name: value})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", "did you mean 'redis://localhost:6379'"),
        ("localhost", "a text without a scheme"),
        ("http://localhost", "the scheme 'http'"),
        ("redis://host:port", "ports from 0 to 65535"),
        ("redis://host?client_nam=x", "'client_nam': did you mean 'client_name'"),
        ("redis://host?zzz=x", "unknown URL option 'zzz': see the arguments"),
        ("redis://host?namespace=x", "pass namespace= to RedisStore"),
        ("redis://host?socket_timeout=x", "check socket_timeout"),
        ("redis://host?max_connections=5", "pass max_connections= to RedisStore"),
        ("redis://host?decode_responses=True", "bytes, and names are UTF-8. Leave it out"),
        ("redis://host?decode_responses=False", "must not have the option 'decode_responses'"),
        ("redis://host?encoding=latin-1", "names are UTF-8"),
        ("redis://host?protocol=3", "the store uses RESP2"),
        ("redis://host?retry_on_timeout=yes", "Use .retry"),
        ("redis://host?parser_class=x", "'parser_class' cannot be given in a URL.* client="),
        ("redis://host?socket_read_size=5", "'socket_read_size' cannot be given in a URL"),
        ("redis://:57#secret@10.0.0.7:6379/0", "must have no '#'.* %23"),
        ("redis://host/0#1", "must have no '#'.* %23"),
        ("unix:///run/redis#1.sock", "must have no '#'.* %23"),
        (b"redis://host", "`url` must be a string .*; got bytes"),
    ],
)
def test_the_error_of_an_invalid_url_says_what_to_write(url: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        RedisStore(url)
    assert "secret" not in str(caught.value)


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
    url = "unix:///nowhere/redis.sock?db=2"
    assert RedisStore.from_url(f"{url}&raw=no").arguments == {"url": url, "raw": False}
    async with RedisStore.from_url(url) as unix:
        with pytest.raises(StoreUnavailable):
            await unix.check()
    for url in ("redis://h?raw=perhaps", "redis://h?timeout=x", "redis://h?nothing=1", "memory://"):
        with pytest.raises(ConfigurationError):
            RedisStore.from_url(url)


async def test_a_unix_socket_by_url_and_in_a_configuration(namespace: str) -> None:
    # Not in the folder of the test, whose path may be longer than a socket's may be.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        url = f"unix://{path}?db=3&namespace={namespace}"
        with RedisServer("--unixsocket", path) as server:
            for store in (store_from_url(url), from_config({"store": url})):
                async with store:
                    assert await store.increment("n") in (1, 2)
            async with redis.asyncio.Redis.from_url(f"{server.url[:-1]}3") as client:
                assert await client.keys() == [f"{namespace}::n".encode()]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_client_of_either_protocol(own_server: RedisServer, protocol: int) -> None:
    async with (
        redis.asyncio.Redis.from_url(own_server.url, protocol=protocol) as client,
        RedisStore(client=client) as store,
        RedisStore(client=client, raw=True) as raw,
    ):
        for _ in range(2):
            await store.put_many(["a", "b"], [1, "x" * 2_000_000])
            assert await store.get_many(["a", "b", "c"]) == [1, "x" * 2_000_000, None]
            assert await store.increment("a") == 2
            assert sorted(await store.keys()) == ["a", "b"]
            await raw.put("k", b"1", ttl=50)
            assert (await raw.ttl("k"))[0] == b"1"
            own_server.restart()
            await asyncio.sleep(0.01)  # the event loop sees that connections were closed


async def test_a_timeout_of_the_driver_that_is_shorter(own_server: RedisServer) -> None:
    async with RedisStore(f"{own_server.url}?socket_timeout=0.5", timeout=600) as store:
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.get("a")
        own_server.thaw()


async def test_every_option_that_a_url_may_have(redis_url: str) -> None:
    url = (
        f"{redis_url}?client_name=x&lib_name=y&lib_version=1&socket_timeout=5"
        "&socket_connect_timeout=5&socket_keepalive=yes&health_check_interval=1&db=2"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the driver
        async with RedisStore(url) as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
            await store.destroy()
