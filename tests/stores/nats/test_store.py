"""NATSStore: buckets, markers, lifetimes of the server, ready clients and URLs."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import pytest
from nats.js.api import KeyValueConfig, StreamConfig

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    NATSStore,
    StoreUnavailable,
    ValueTooLarge,
    store_from_url,
)
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import NATSServer


async def messages(client: Any, bucket: str) -> int:
    info = await client.jetstream().stream_info(f"KV_{bucket}")
    count: int = info.state.messages
    return count


async def test_the_bucket_is_one_that_other_clients_can_use(
    store: NATSStore, client: Any, bucket: str
) -> None:
    await store.put("a", 1, collection="c")
    theirs = await client.jetstream().key_value(bucket)
    assert (await theirs.get("c.a")).value.endswith(b"1")
    await store.delete("a", collection="c")
    with pytest.raises(nats.js.errors.KeyNotFoundError):
        await theirs.get("c.a")
    assert await store.put_if_absent("a", 2, collection="c")
    await theirs.delete("c.a")
    assert await store.get("a", collection="c") is None
    await theirs.purge("c.a")
    assert await store.increment("a", collection="c") == 1


async def test_a_bucket_of_another_program_is_used(client: Any, url: str, bucket: str) -> None:
    theirs = await client.jetstream().create_key_value(KeyValueConfig(bucket=bucket))
    async with NATSStore(url, bucket=bucket) as store:
        for number in range(3):
            await store.put("a", number)
        assert await store.get("a") == 2
        assert await store.keys() == ["a"]
        for value in (b"", b"null", b"theirs"):
            await theirs.put("_.b", value)
            with pytest.raises(CorruptEntry, match="replace them"):
                await store.get("b")
            with pytest.raises(CorruptEntry):
                await store.increment("b")
            with pytest.raises(CorruptEntry):
                await store.put_if_absent("b", 1)
        assert await store.keys() == ["a", "b"]
        await theirs.put("theirs", b"theirs")
        assert await store.keys() == ["a", "b"]
        await theirs.put("other.b", b"theirs")
        assert await store.collections() == ["other"]
        assert await store.delete("a")
        await store.cull()
        assert (await theirs.get("theirs")).value == b"theirs"


async def test_a_bucket_with_a_history_is_refused(client: Any, url: str, bucket: str) -> None:
    await client.jetstream().create_key_value(KeyValueConfig(bucket=bucket, history=5))
    store = NATSStore(url, bucket=bucket)
    with pytest.raises(ConfigurationError, match="a history of 1"):
        await store.get("a")
    await store.close()


async def test_a_stream_that_is_no_bucket_is_left_alone(client: Any, url: str, bucket: str) -> None:
    await client.jetstream().add_stream(StreamConfig(name=f"KV_{bucket}", subjects=[f"{bucket}.x"]))
    store = NATSStore(url, bucket=bucket)
    with pytest.raises(ConfigurationError, match="must be a key-value bucket"):
        await store.put("a", 1)
    await store.close()
    assert await messages(client, bucket) == 0


async def test_the_server_frees_expired_entries(url: str, client: Any, bucket: str) -> None:
    async with NATSStore(url, bucket=bucket) as store:
        await store.put("a", 1, ttl=0.2)
        await store.put("b", 1, ttl=1e12)  # longer than a server counts
        await store.put("c", 1)
        while await messages(client, bucket) > 2:
            await asyncio.sleep(0.1)
        assert await store.keys() == ["b", "c"]


async def test_culling_frees_expired_entries_and_deletions(
    store: NATSStore, client: Any, bucket: str, clock: ManualClock
) -> None:
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=[1000, None, None])
    await store.delete("b")
    assert await messages(client, bucket) == 3
    clock.advance(1001)
    assert await store.keys() == ["c"]
    await store.cull()
    assert await messages(client, bucket) == 1
    assert await store.get("c") == 3


async def test_destroying_leaves_other_buckets_alone(url: str, bucket: str) -> None:
    async with NATSStore(url, bucket=bucket) as one, NATSStore(url, bucket=bucket + "x") as two:
        await one.put_many(["a", "b"], [1, 2])
        await two.put("a", 1)
        assert await one.destroy()
        assert not await one.destroy()
        assert await one.keys() == []
        assert await two.get("a") == 1


async def test_many_names_are_listed_in_pages(store: NATSStore) -> None:
    names = [f"key {number:04}" for number in range(1200)]
    await store.put_many(names, names)
    assert sorted(await store.keys()) == names
    assert await store.keys(limit=3) == names[:3]
    assert await store.count(prefix="key 10") == 100
    assert await store.delete_where(prefix="key 1") == 200


async def test_a_value_over_the_limit_in_the_middle_of_a_batch(store: NATSStore) -> None:
    large = "x" * (1024 * 1024)
    with pytest.raises(ValueTooLarge, match="1048576 bytes") as caught:
        await store.put_many(["a", "b", "c"], [1, large, 3])
    assert caught.value.key == "b"
    assert caught.value.succeeded == ("a", "c")
    assert await store.get_many(["a", "b", "c"]) == [1, None, 3]
    await store.put("b", "x" * 1_000_000)


async def test_a_client_of_the_user_is_not_closed(client: Any, bucket: str) -> None:
    async with NATSStore(client=client, bucket=bucket) as store:
        await store.put("a", 1)
    assert client.is_connected
    other = NATSStore(client=client, bucket=bucket)
    assert await other.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(other.get("a")))


def test_urls() -> None:
    store = store_from_url("nats://user:hunter2@one:1,two/things?timeout=none&replicas=3")
    assert isinstance(store, NATSStore)
    assert store.location == "bucket 'things' of NATS at one:1,two:4222"
    assert "hunter2" not in repr(store) + store.explain()
    assert NATSStore("nats://").location == "bucket 'kvwrap' of NATS at localhost:4222"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `url` or `client`"),
        ({"url": "redis://h"}, "must begin with nats://"),
        ({"url": "nats://h/b?replicas=3"}, "pass them to NATSStore as"),
        ({"url": "nats://h/a.b"}, "letters, digits"),
        ({"url": "nats://h/a", "bucket": "b"}, "given once"),
        ({"url": "nats://h", "replicas": 0}, "replicas"),
        ({"url": "nats://h", "timeout": 0}, "timeout"),
        ({"url": "nats://h", "ca": "/nowhere"}, "`ca` must be a file"),
    ],
)
def test_options_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NATSStore(**arguments)


def test_unknown_options_of_a_url() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'replicas'"):
        store_from_url("nats://h/b?replica=3")
    with pytest.raises(ConfigurationError, match="'#'"):
        store_from_url("nats://h/b#x?timeout=3")


def test_the_server_of_the_tests_has_jetstream(url: str) -> None:
    assert url.startswith("nats://127.0.0.1:")
    assert NATSServer.url_variable() == "KVWRAP_NATS_URL"
