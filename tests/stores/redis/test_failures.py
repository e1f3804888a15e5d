"""RedisStore: unavailable and full servers, passwords, broken values."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from kvwrap import (
    AccessDenied,
    CorruptEntry,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.redis.errors import translate_error
from kvwrap.stores.shared import chunks
from kvwrap.testing import RedisServer


async def test_a_server_that_stops_and_comes_back(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, timeout=2) as store:
        await store.put("a", 1)
        await asyncio.gather(*(store.get("a") for _ in range(10)))
        own_server.kill()
        for call in (store.get("a"), store.put("a", 1), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            assert isinstance(caught.value.__cause__, redis.exceptions.RedisError)
        own_server.start()
        assert await store.get("a") is None
        assert await store.put_if_absent("a", 2) is True
        own_server.restart()
        await asyncio.sleep(0.01)  # the event loop sees that connections were closed
        assert await asyncio.gather(*(store.get("a") for _ in range(10))) == [None] * 10


async def test_a_server_that_does_not_answer(own_server: RedisServer) -> None:
    async with RedisStore(own_server.url, timeout=1) as store:
        await store.put("a", 1)
        own_server.freeze()
        started = time.monotonic()
        calls = [store.get("a") for _ in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < 25  # and not one after the other
        own_server.thaw()
        assert all(type(result) is StoreTimeout for result in results)
        assert await store.get("a") == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://user:hunter2@127.0.0.1:1", r"Redis at 127\.0\.0\.1:1 .* connection was refused"),
        ("redis://:hunter2@host.invalid", r"Redis at host\.invalid:6379 .* host name is unknown"),
        ("unix:///nowhere/redis.sock", r"Redis at /nowhere/redis\.sock cannot be reached"),
    ],
)
async def test_the_error_of_an_unreachable_server_names_it(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as caught:
        await RedisStore(url).check()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"


async def test_a_server_that_does_not_exist() -> None:
    with pytest.raises(StoreUnavailable):
        await RedisStore(port=1, host="127.0.0.1").check()


async def test_the_error_of_a_full_server_names_the_keys_that_succeeded(
    own_server: RedisServer,
) -> None:
    async with RedisStore(own_server.url) as store:
        await store.put("a", "x" * 100)
        admin = redis.asyncio.Redis.from_url(own_server.url)
        await admin.config_set("maxmemory", 1)
        await admin.aclose()
        for write in (
            store.put("b", "x"),
            store.put_if_absent("c", 1),
            store.put_many(["d", "e"], [1, 2]),
        ):
            with pytest.raises(StoreFull):
                await write
        with pytest.raises(StoreFull) as caught:
            await store.put_many(["d", "e"], ["x", "y"], ttl=5)
        assert (caught.value.succeeded, caught.value.key) == ((), "d")
        assert await store.get("a") == "x" * 100


async def test_passwords(own_server: RedisServer) -> None:
    admin = redis.asyncio.Redis.from_url(own_server.url)
    await admin.config_set("requirepass", "hunter2")
    await admin.aclose()
    url = own_server.url.replace("redis://", "redis://:hunter2@")
    for store in (RedisStore(url), RedisStore(own_server.url, password="hunter2")):
        async with store:
            await store.put("a", 1)
            assert "hunter2" not in repr(store) + store.explain() + repr(stack().over(store))
    for store in (RedisStore(own_server.url), RedisStore(url.replace("hunter2", "hunter3"))):
        with pytest.raises(StoreUnavailable, match="password") as caught:
            await store.get("a")
        text = f"{caught.value!r} {caught.value} {caught.value.__cause__}"
        assert "hunter" not in text
        await store.close()


async def test_values_over_the_limit_of_the_server_are_not_sent(own_server: RedisServer) -> None:
    values = ["x", "y" * 2_000_000]
    async with (
        RedisStore(own_server.url) as store,
        redis.asyncio.Redis.from_url(own_server.url) as admin,
    ):
        await store.put_many(["a", "b"], values)
        await admin.config_set("proto-max-bulk-len", 1024 * 1024)
        async with RedisStore(own_server.url) as other:
            for write in (
                other.put("b", values[1]),
                other.put_many(["c", "b"], values),
                other.put_many(["c", "b"], values, ttl=5),
                other.put_if_absent("b", values[1]),
            ):
                with pytest.raises(ValueTooLarge, match="1048576 bytes; got 20000") as caught:
                    await write
                assert caught.value.key == "b"
            assert await other.get("c") is None
            await admin.config_set("proto-max-bulk-len", 3_000_000)
            await other.put("b", values[1])  # the limit is asked for again
        statistics = await admin.info("commandstats")
        asked = statistics["cmdstat_config|get"]["calls"]
        await store.put_many(["c", "d"], ["x" * 1_000_000] * 2)
        await store.put("b", values[1])
        statistics = await admin.info("commandstats")
        assert statistics["cmdstat_config|get"]["calls"] == asked


async def test_a_limit_that_the_account_may_not_ask_for(own_server: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(own_server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config")
        async with RedisStore(own_server.url.replace("//", "//app:pw@")) as store:
            await store.put("a", "x" * 2_000_000)
            await admin.config_set("proto-max-bulk-len", 1024 * 1024)
            with pytest.raises((ValueTooLarge, StoreUnavailable)):
                await store.put("a", "x" * 3_000_000)
            await store.put("a", "x")
            assert await store.get("a") == "x"


async def test_a_key_that_the_account_may_not_use_is_no_outage(own_server: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(own_server.url) as admin:
        rules = ("~kvwrap::*", "+@all", "-get", "-mget")
        await admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", *rules)
        async with RedisStore(own_server.url.replace("//", "//app:pw@")) as store:
            await store.put("a", 1)
            for write in (
                store.put("a", 1, collection="c"),
                store.put("a", 1, collection="c", ttl=5),
                store.put_many(["a", "b"], [1, 2], collection="c"),
                store.put_if_absent("a", 1, collection="c"),
                store.delete("a", collection="c"),
            ):
                with pytest.raises(AccessDenied, match="does not permit this username"):
                    await write
            with pytest.raises(StoreUnavailable, match="its permissions"):
                await store.get("a")  # a command that it may not use at all


async def test_a_failure_in_a_later_part_of_a_batch_names_the_keys_that_succeeded(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 10)
    keys = [f"k{i}" for i in range(25)]
    async with RedisStore(own_server.url) as store:
        await store.put_many(keys, keys)
        assert await store.get_many([*keys, "none"]) == [*keys, None]

    class KillsServer(redis.asyncio.ConnectionPool):
        """Kills the server before its third round trip."""

        round_trips = 0

        async def get_connection(self, *arguments: Any, **options: Any) -> Any:
            self.round_trips += 1
            if self.round_trips == 3:
                own_server.kill()
            return await super().get_connection(*arguments, **options)

    async with (
        redis.asyncio.Redis(connection_pool=KillsServer(port=own_server.port)) as client,
        RedisStore(client=client) as store,
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await store.put_many(keys, keys, ttl=100)
        assert caught.value.succeeded == tuple(keys[:20])


@pytest.mark.parametrize("ttl", [None, 50])
async def test_a_large_batch_is_divided_by_the_size_of_its_values(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch, ttl: float | None
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 4)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    values = ["x" * size for size in (10, 700, 400, 2000, 1, 1, 1, 1, 1, 900, 10)]
    keys = [f"k{number}" for number in range(len(values))]
    async with (
        RedisStore(own_server.url) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await store.put_many(keys, values, ttl=ttl)
        assert await store.get_many(keys) == values
        assert await store.put_many([], []) is None
        assert await store.write(None, keys, [e for e in await store.read(None, keys) if e]) == (
            [True] * len(keys)
        )
        if ttl is None:
            statistics = await client.info("commandstats")
            # [10, 700], [400], [2000], [1, 1, 1, 1], [1, 900], [10], twice
            assert statistics["cmdstat_mset"]["calls"] == 2 * 6


def test_errors_never_quote_the_command() -> None:
    for kind in (redis.exceptions.ResponseError, redis.exceptions.ConnectionError):
        error = translate_error(kind("Command # 1 (SET a secret) caused error"), "host:6379")
        assert "secret" not in str(error)


@pytest.mark.parametrize(
    "value",
    [
        *(b"plain", b"", b'{"a": 1}', b"\xabk", b"\xabk\x01" + b"\0" * 40, b"\xabk\x02"),
        b"\xabk" + b"\0" * 12 + b"\1" + b"\0" * 8,  # one byte too short to tell an expiry
    ],
)
async def test_foreign_bytes_are_corrupt_and_not_values(
    store: RedisStore, client: Any, namespace: str, value: bytes
) -> None:
    await client.set(f"{namespace}::a", value)
    with pytest.raises(CorruptEntry):
        await store.get("a")
    assert await store.put_if_absent("a", 1) is False
    await store.put("a", 1)
    assert await store.get("a") == 1


async def test_an_entry_copied_to_another_key_is_corrupt(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await store.put("a", 1)
    await client.copy(f"{namespace}::a", f"{namespace}::b")
    await client.copy(f"{namespace}::a", f"{namespace}:c:a")
    for key, collection in (("b", None), ("a", "c")):
        with pytest.raises(CorruptEntry):
            await store.get(key, collection=collection)
