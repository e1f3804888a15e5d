"""What is RedisStore's own: names, raw data, scripts, failures, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

import kvwrap.stores.redis.server as commands
import kvwrap.stores.redis.store as module
from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    InvalidKey,
    Keyring,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
    stack,
)
from kvwrap.core.serializer import JSON, MsgpackSerializer
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.redis.errors import failure
from kvwrap.stores.redis.keys import Names, pattern
from kvwrap.testing import ManualClock, RedisServer


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest_asyncio.fixture
async def store(redis_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(redis_url, namespace=namespace) as made:
        yield made
        await made.destroy()


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(redis_url, protocol=2) as made:
        yield made


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


# -- names -------------------------------------------------------------------------------

NAMES = ["a", "a:b", "a%3Ab", "%", ":", "::", "*", "a*", "[a]", "a?", "\\", "\0", "ä", "𐀀", "a\n"]


async def test_no_name_is_taken_for_another(store: RedisStore) -> None:
    for collection in (None, *NAMES):
        await store.put_many(NAMES, [[collection, n] for n in NAMES], collection=collection)
    for collection in (None, *NAMES):
        found = await store.get_many(NAMES, collection=collection)
        assert found == [[collection, name] for name in NAMES]
        assert sorted(await store.keys(collection)) == sorted(NAMES)
    assert await store.collections() == sorted(NAMES)
    for prefix in NAMES:
        found = [key async for key in store.scan(collection="*", prefix=prefix)]
        assert sorted(found) == sorted(name for name in NAMES if name.startswith(prefix))
    assert await store.destroy_collection("a*") is True
    assert await store.destroy_collection("a*") is False
    assert await store.collections() == sorted(set(NAMES) - {"a*"})


@given(st.text(min_size=1), st.none() | st.text(min_size=1), st.text(min_size=1))
def test_names_can_be_read_back(namespace: str, collection: str | None, key: str) -> None:
    names = Names(namespace)
    name = names.prefix(collection) + key
    assert names.collection(name[len(names.start) :]) == collection
    assert name.startswith(names.start)
    assert name[len(names.prefix(collection)) :] == key


@given(*[st.tuples(st.text(":%3Aa", min_size=1), st.none() | st.text(":%3Aa", min_size=1))] * 2)
def test_no_two_collections_share_a_name(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    first, second = (Names(space).prefix(name) for space, name in (one, other))
    assert (first == second) == (one == other)
    assert one == other or not first.startswith(second)


async def test_namespaces_do_not_touch_one_another(redis_url: str, namespace: str) -> None:
    async with (
        RedisStore(redis_url, namespace=namespace) as one,
        RedisStore(redis_url, namespace=namespace + ":x") as two,
    ):
        await one.put("k", 1, collection="x")
        await one.put("x:k", 1)
        await two.put("k", 2)
        assert await one.collections() == ["x"]
        assert await one.destroy() is True
        assert await one.destroy() is False
        assert await two.get("k") == 2
        await two.destroy()


async def test_the_layout_in_redis(store: RedisStore, client: Any, namespace: str) -> None:
    await store.put("k:1", 1)
    await store.put("k", 1, collection="a:b%")
    assert set(await client.keys(f"{namespace}*")) == {
        f"{namespace}::k:1".encode(),
        f"{namespace}:a%3Ab%25:k".encode(),
    }


async def test_scan_gives_every_key_once_over_many_pages(store: RedisStore) -> None:
    keys = [f"key-{i}" for i in range(3000)]
    await store.put_many(keys, [0] * 3000, collection="c")
    found = await store.keys("c")
    assert len(found) == 3000
    assert set(found) == set(keys)
    some = [key async for key in store.scan(collection="c", prefix="key-1", end="key-11")]
    assert set(some) == {key for key in keys if key.startswith("key-1") and key < "key-11"}


async def test_pattern_escapes_what_globs_mean() -> None:
    assert pattern("a*b?[c]\\") == b"a\\*b\\?\\[c]\\\\*"


# -- batches, expiry, conditions ------------------------------------------------------------


async def test_a_batch_is_one_command(store: RedisStore, client: Any) -> None:
    keys = [f"k{i}" for i in range(200)]

    async def calls() -> dict[str, int]:
        stats = await client.info("commandstats")
        return {name.removeprefix("cmdstat_"): s["calls"] for name, s in stats.items()}

    await store.put_many(keys, keys)
    before = await calls()
    await store.put_many(keys, keys)
    assert await store.get_many(keys) == keys
    after = await calls()
    changed = {n: after[n] - before.get(n, 0) for n in after if after[n] != before.get(n, 0)}
    assert changed.pop("info") == 1
    assert changed == {"mset": 1, "mget": 1}


async def test_an_empty_batch_asks_nothing(store: RedisStore) -> None:
    assert await store.read(None, []) == []
    assert await store.write(None, [], []) == []
    assert await store.remove("c", []) == []
    assert await store.touch("c", [], []) == []


async def test_redis_frees_entries_at_their_end_and_not_before(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await store.put_many(["a", "b"], [1, 2], ttl=50)
    await store.put("c", 3)
    left = await client.pttl(f"{namespace}::a")
    assert 45_000 < left <= 50_001
    assert await client.pttl(f"{namespace}::c") == -1
    assert await store.expire("a", 100) is True
    assert 95_000 < await client.pttl(f"{namespace}::a") <= 100_001
    assert await store.expire("a", None) is True
    assert await client.pttl(f"{namespace}::a") == -1
    await store.put("d", 4, ttl=0.001)
    await asyncio.sleep(0.01)
    assert await client.exists(f"{namespace}::d") == 0


async def test_the_stores_clock_decides_whatever_redis_holds(
    redis_url: str, namespace: str, client: Any, clock: ManualClock
) -> None:
    async with RedisStore(redis_url, namespace=namespace, clock=clock) as store:
        await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=10)
        await store.put("d", 4)
        held = await store.get_versioned("a")
        assert held is not None
        clock.advance(10)
        assert await client.exists(f"{namespace}::a") == 1
        assert await store.get_many(["a", "b", "d"]) == [None, None, 4]
        assert await store.keys() == ["d"]
        assert await store.compare_and_put("a", 5, held.version) is False
        assert await store.delete("a") is False
        assert await store.put_if_absent("b", 6) is True
        assert await store.get("b") == 6
        assert await store.delete_many(["b", "d"]) == 2
        assert await store.collections() == []
        assert await store.destroy() is False  # "c" had expired
        assert await client.keys(f"{namespace}*") == []


async def test_what_has_expired_when_it_is_written_takes_the_old_value_away(
    store: RedisStore, clock: ManualClock
) -> None:
    await store.put("a", 1)
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    assert await store.write(None, ["a"], [entry.with_expiry(entry.created_at - 5)]) == [True]
    assert await store.get("a") is None
    await store.put("a", 1)
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    gone = entry.with_expiry(entry.created_at - 5, entry.version ^ 1)
    assert await store.write(None, ["a"], [gone], [entry.version ^ 2]) == [False]
    assert await store.write(None, ["a"], [gone], [entry.version]) == [True]
    assert await store.exists("a") is False


async def test_conditional_writes_compare_every_byte_of_the_version(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (0, 1, 2**63, 2**64 - 1, 0x0A0D005C25000000):
        monkeypatch.setattr("kvwrap.core.basic._new_version", lambda bits, v=version: v)
        await store.put("a", 1)
        held = await store.get_versioned("a")
        assert held is not None
        assert held.version == version
        monkeypatch.setattr("kvwrap.core.basic._new_version", random.getrandbits)
        assert await store.compare_and_put("a", 2, version ^ 1) is False
        assert await store.compare_and_put("a", 2, version ^ 1 << 63) is False
        assert await store.compare_and_put("a", 2, -1) is False
        assert await store.compare_and_put("a", 2, 1 << 64) is False
        assert await store.compare_and_put("a", 2, version) is True


async def test_a_conditional_write_asked_for_again_after_a_lost_answer_succeeds(
    store: RedisStore,
) -> None:
    await store.put("a", 1)
    (before,) = await store.read(None, ["a"])
    await store.put("b", 2)
    (other,) = await store.read(None, ["b"])
    assert before is not None
    assert other is not None
    for _ in range(2):
        assert await store.write(None, ["a"], [other], [before.version]) == [True]


async def test_scripts_are_sent_again_when_the_server_forgets_them(
    store: RedisStore, client: Any
) -> None:
    for _ in range(2):
        await client.script_flush()
        keys = [f"k{i}" for i in range(5)]
        assert await store.delete_many(keys) in (0, 5)
        await client.script_flush()
        assert [await store.put_if_absent(key, 1) for key in keys] == [True] * 5
        assert await store.put_if_absent("k0", 1) is False
        await client.script_flush()
        assert len(await store.keys()) == 5


COUNTING = """
import asyncio, sys
from kvwrap.stores.redis import RedisStore

async def main():
    async with RedisStore(sys.argv[1], namespace=sys.argv[2]) as store:
        async def count():
            for _ in range(1000):
                await store.increment("count")
        await asyncio.gather(*(count() for _ in range(8)))

asyncio.run(main())
"""


async def test_two_processes_of_eight_tasks_share_a_counter_exactly(
    store: RedisStore, redis_url: str, namespace: str
) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTING, redis_url, namespace]) for _ in range(2)
    ]
    for process in processes:
        assert await asyncio.to_thread(process.wait, timeout=100) == 0
    assert await store.get("count") == 16_000


# -- cancellation ------------------------------------------------------------------------


async def test_cancelled_calls_never_leave_their_answers_to_others(
    redis_url: str, namespace: str
) -> None:
    chance = random.Random(7)
    async with RedisStore(redis_url, namespace=namespace, max_connections=4) as store:
        keys = [f"k{i}" for i in range(100)]
        await store.put_many(keys, keys)

        async def read(key: str) -> None:
            match chance.randrange(3):
                case 0:
                    assert await store.get(key) == key
                case 1:
                    assert await store.get_many([key, "k1"]) == [key, "k1"]
                case 2:
                    assert await store.put_if_absent(key, "other") is False

        for _ in range(25):
            tasks = [asyncio.create_task(read(chance.choice(keys))) for _ in range(40)]
            for task in chance.sample(tasks, 30):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                await asyncio.sleep(chance.random() * 0.0005)
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            wrong = [
                r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)
            ]
            assert wrong == []
        # No turn and no connection was lost on the way.
        assert await store.get_many(keys) == keys
        assert store._server._turns._value == 4
        assert len(store._server._pool._in_use_connections) == 0
        await store.destroy()


async def test_cancelled_batches_leave_values_of_one_write_each(store: RedisStore) -> None:
    keys = [f"k{i}" for i in range(500)]
    await store.put_many(keys, [0] * 500)
    for attempt in range(1, 15):
        task = asyncio.create_task(store.put_many(keys, [attempt] * 500, ttl=1000))
        await asyncio.sleep(attempt * 0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await store.put_many(keys, [-attempt] * 500) is None
        assert set(await store.get_many(keys)) == {-attempt}


# -- failures ------------------------------------------------------------------------------


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
    async with RedisStore(own_server.url, timeout=0.1) as store:
        await store.put("a", 1)
        own_server.freeze()
        started = time.monotonic()
        calls = [store.get("a") for _ in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < 5
        own_server.thaw()
        assert all(type(result) is StoreTimeout for result in results)
        assert await store.get("a") == 1


async def test_a_server_that_was_never_there() -> None:
    with pytest.raises(StoreUnavailable):
        await RedisStore(port=1, host="127.0.0.1").check()


async def test_a_full_server_says_what_was_done(own_server: RedisServer) -> None:
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


async def test_values_over_the_limit(
    store: RedisStore, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST", 1000)
    with pytest.raises(ValueTooLarge) as caught:
        await store.put_many(["a", "b"], ["x", "y" * 1000])
    assert caught.value.key == "b"
    assert await store.get("a") is None
    monkeypatch.undo()
    async with RedisStore(own_server.url) as other:
        admin = redis.asyncio.Redis.from_url(own_server.url)
        await admin.config_set("proto-max-bulk-len", 1024 * 1024)
        await admin.aclose()
        with pytest.raises((ValueTooLarge, StoreUnavailable)):
            await other.put("a", "x" * 2_000_000)
        # The server closes the connection, which the next caller may be the one to find out.
        for _ in range(10):
            with contextlib.suppress(StoreUnavailable):
                await other.put("a", "x")
                break
        assert await other.get("a") == "x"


async def test_a_failure_in_a_later_part_of_a_batch_says_what_was_done(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "CHUNK", 10)
    keys = [f"k{i}" for i in range(25)]
    async with RedisStore(own_server.url) as store:
        await store.put_many(keys, keys)
        assert await store.get_many([*keys, "none"]) == [*keys, None]
        sent = 0
        ask = store._server.ask_all

        async def ask_twice(*arguments: Any, **more: Any) -> list[Any]:
            nonlocal sent
            sent += 1
            if sent == 3:
                own_server.kill()
            return await ask(*arguments, **more)

        monkeypatch.setattr(store._server, "ask_all", ask_twice)
        with pytest.raises(StoreUnavailable) as caught:
            await store.put_many(keys, keys, ttl=100)
        assert caught.value.succeeded == tuple(keys[:20])


def test_errors_never_quote_the_command() -> None:
    for kind in (redis.exceptions.ResponseError, redis.exceptions.ConnectionError):
        assert "secret" not in str(failure(kind("Command # 1 (SET a secret) caused error")))


@pytest.mark.parametrize(
    "value", [b"plain", b"", b'{"a": 1}', b"\xabk", b"\xabk\x01" + b"\0" * 40, b"\xabk\x02"]
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


# -- clients and descriptions ------------------------------------------------------------------


async def test_a_ready_client_is_used_and_left_open(client: Any, namespace: str) -> None:
    async with RedisStore(client=client, namespace=namespace) as store:
        await store.put("a", 1)
        assert await store.increment("a") == 2
    assert await client.ping() is True
    assert await client.delete(f"{namespace}::a") == 1


async def test_its_own_connections_are_closed(redis_url: str, namespace: str) -> None:
    store = RedisStore(redis_url, namespace=namespace)
    await asyncio.gather(*(store.get("a") for _ in range(5)))
    connections = list(store._server._pool._available_connections)
    assert any(connection.is_connected for connection in connections)
    await store.close()
    assert not any(connection.is_connected for connection in connections)
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
def test_what_cannot_work_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, InvalidKey)) as caught:
        RedisStore(**arguments)
    assert "hunter2" not in str(caught.value)


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


# -- another program's data -------------------------------------------------------------------


@pytest_asyncio.fixture
async def raw(own_server: RedisServer) -> AsyncIterator[tuple[RedisStore, Any]]:
    async with (
        RedisStore(own_server.url, raw=True) as store,
        redis.asyncio.Redis.from_url(own_server.url, protocol=2) as client,
    ):
        yield store, client


async def test_raw_values_are_the_bytes_in_redis(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.set("k", b"\x00\xff", px=100_000)
    await client.set("c:k", b"")
    assert await store.get("k") == b"\x00\xff"
    assert await store.get("k", collection="c") == b""
    assert await store.get_many(["k", "none", "c:k"]) == [b"\x00\xff", None, b""]
    value, left = await store.ttl("k")
    assert (value, left) == (b"\x00\xff", pytest.approx(100, abs=5))
    assert await store.ttl("c:k") == (b"", None)
    await store.put("new", b"bytes", ttl=50)
    assert await client.get("new") == b"bytes"
    assert 45_000 < await client.pttl("new") <= 50_001
    await store.put_many(["x", "y"], [b"1", b"2"], collection="c")
    assert await client.mget("c:x", "c:y") == [b"1", b"2"]
    assert sorted(await store.keys("c")) == ["k", "x", "y"]
    assert await store.expire("k", None) is True
    assert await client.pttl("k") == -1
    assert await client.get("k") == b"\x00\xff"


async def test_raw_values_can_be_compared_and_put(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.set("k", b"one")
    held = await store.get_versioned("k")
    assert held is not None
    await client.set("k", b"two")
    assert await store.compare_and_put("k", b"three", held.version) is False
    held = await store.get_versioned("k")
    assert held is not None
    assert await store.compare_and_put("k", b"three", held.version) is True
    assert await client.get("k") == b"three"
    assert await store.put_if_absent("k", b"four") is False
    assert await store.pop("k") == b"three"
    counter = stack().serialize("json").over(RedisStore(client=client, raw=True))
    await client.set("n", b"41")
    assert await counter.increment("n") == 42
    assert await client.incr("n") == 43


async def test_raw_passes_over_what_is_no_string(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.hset("hash", "field", "x")
    await client.rpush("list", "x")
    await client.set(b"\xff\xfe", b"no text")
    await client.set("s", b"x")
    assert await store.keys() == ["s"]
    assert await store.get_many(["hash", "s"]) == [None, b"x"]
    assert await store.get("list") is None
    assert await store.delete("hash") is False
    assert await store.put_if_absent("hash", b"") is False
    assert await client.type("hash") == b"hash"


async def test_raw_bytes_that_look_like_an_entry_come_back(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await store.put("k", b"\xabk\x01 looks like one")
    assert await store.get("k") == b"\xabk\x01 looks like one"
    assert await client.get("k") != b"\xabk\x01 looks like one"


async def test_raw_drops_one_collection_and_never_everything(raw: tuple[RedisStore, Any]) -> None:
    store, client = raw
    await client.mset({"a": "1", "c:a": "1", "c:b": "1", "cc:a": "1"})
    assert not store.capabilities & {Capability.DESTROY, Capability.COLLECTIONS}
    for call in (store.destroy(), store.destroy_collection(None), store.collections()):
        with pytest.raises(UnsupportedOperation):
            await call
    assert await store.destroy_collection("c") is True
    assert sorted(await client.keys()) == [b"a", b"cc:a"]


@pytest.mark.parametrize("serializer", [JSON, MsgpackSerializer()])
async def test_raw_reads_and_writes_the_format_of_its_serializer(
    own_server: RedisServer, serializer: Any
) -> None:
    async with (
        RedisStore(own_server.url, raw=True, serializer=serializer) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.set("k", serializer.dumps({"a": [1]}))
        assert await store.get("k") == {"a": [1]}
        await store.put("l", {"b": None})
        assert await client.get("l") == serializer.dumps({"b": None})
        assert await store.get("l") == {"b": None}
        await client.set("m", b"\xc1 neither")
        with pytest.raises(CorruptEntry):
            await store.get("m")


async def test_encryption_over_plain_json_of_another_program(own_server: RedisServer) -> None:
    layers = (
        stack()
        .statistics()
        .serialize("json")
        .encrypt(Keyring.generate(), accept_plaintext=True)
        .silence("migration-open")
    )
    async with (
        layers.over(RedisStore(own_server.url, raw=True)) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.set("user:1", '{"name": "Ada", "age": 36}', ex=100)
        await client.set("count", "7")
        assert await store.get("1", collection="user") == {"name": "Ada", "age": 36}
        assert await store.get_many(["count", "user:1"]) == [7, {"name": "Ada", "age": 36}]
        await store.put("2", {"name": "Grace"}, collection="user", ttl=100)
        assert b"Grace" not in await client.get("user:2")
        assert await store.get_many(["1", "2"], collection="user") == [
            {"name": "Ada", "age": 36},
            {"name": "Grace"},
        ]
        # In place, with its ttl and only if the other program has not changed it meanwhile.
        held = await store.get_versioned("1", collection="user")
        assert held is not None
        assert await store.compare_and_put("1", held.value, held.version, collection="user") is True
        assert b"Ada" not in await client.get("user:1")
        assert await store.get("1", collection="user") == {"name": "Ada", "age": 36}
        assert await store.increment("count") == 8
        assert sorted(await store.keys("user")) == ["1", "2"]
