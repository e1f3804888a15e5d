"""MemcachedStore: arguments, names, lifetimes, generations, several servers, and listings."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from base64 import b64encode
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    KvwrapError,
    MemcachedStore,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
)
from kvwrap.stores.memcached.names import LONGEST_NAMESPACE, Names
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import MemcachedServer
from tests.stores.memcached.conftest import talk


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "redis://localhost"},
        {"url": "memcached://localhost/x"},
        {"url": "memcached://localhost?timeout=1"},
        {"url": 5},
        {"namespace": ""},
        {"namespace": "a:b"},
        {"namespace": "a b"},
        {"namespace": "é"},
        {"namespace": "n" * (LONGEST_NAMESPACE + 1)},
        {"timeout": 0},
        {"max_connections": 0},
        {"enumerate": "yes"},
        {"cert": "missing.pem"},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MemcachedStore(**arguments)


def test_urls() -> None:
    url = "memcached://me:s%20ecret@one:1,two?namespace=app&enumerate=true&timeout=none"
    store = MemcachedStore.from_url(url)
    assert store.arguments == {
        "url": "memcached://me:s%20ecret@one:1,two",
        "namespace": "app",
        "enumerate": True,
        "timeout": None,
    }
    assert store.location == "namespace 'app' of memcached at one:1,two:11211"
    assert "ecret" not in repr(store) + store.explain() + store.location
    for wrong in ("memcached://h?nmespace=a", "memcached://h#1", "redis://h"):
        with pytest.raises(KvwrapError):
            MemcachedStore.from_url(wrong)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.none() | TEXTS | st.just("c" * 1000), TEXTS | st.sampled_from(["k" * 200, "é" * 1000]))
def test_names_are_short_and_plain_and_can_be_parsed(collection: str | None, key: str) -> None:
    names = Names("n" * LONGEST_NAMESPACE)
    (suffix,) = names.suffixes(collection, [key])
    name = names.root("0" * 16) + suffix
    assert re.fullmatch(r"[!-~]{1,250}", name)
    assert suffix.startswith(names.prefix(collection))
    packed = names.pack(suffix, collection, key, b"entry")
    assert names.unpack(suffix, packed) == (collection, key, b"entry")


async def test_lifetimes_beyond_30_days(url: str, namespace: str, clock: ManualClock) -> None:
    """Memcached takes 2,592,001 seconds for a moment in 1970, at which the entry has expired."""
    day = 86_400.0
    async with MemcachedStore(url, namespace=namespace, clock=clock) as store:
        for days in (29.9, 30, 31, 400, 36_500, 10**6):
            await store.put("k", days, ttl=days * day)
            assert (await store.ttl("k"))[1] == pytest.approx(days * day)
            assert await store.put_if_absent("other", days, ttl=days * day)
            assert await store.delete("other")
        clock.advance(36_499 * day)
        await store.put("k", 1, ttl=40 * day)
        clock.advance(40 * day)
        assert await store.get("k") is None


async def test_the_server_frees_expired_entries(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace) as store:
        await store.put("k", 1, ttl=100)
        await store.put("long", 1, ttl=86_400 * 40)
        await store.put("forever", 1)
        generation = (await talk(url, f"mg {namespace}:generation v".encode(), b"+\r\n")).split()[2]
        root = f"{namespace}:{generation.decode()[:-1]}::"
        lifetimes = [
            int((await talk(url, f"mg {root}{key} t".encode())).split()[1][1:])
            for key in ("k", "long", "forever")
        ]
    assert lifetimes[0] == pytest.approx(100, abs=30)
    assert lifetimes[1] == pytest.approx(86_400 * 40, abs=30)
    assert lifetimes[2] == -1


async def test_a_value_over_the_item_limit_names_what_was_stored(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace) as store:
        with pytest.raises(ValueTooLarge, match="item limit") as caught:
            await store.put_many(["a", "b", "c"], [1, "x" * 1_100_000, 3], collection="x")
        error = caught.value
        assert (error.key, error.collection, error.succeeded) == ("b", "x", ("a", "c"))
        assert await store.get_many(["a", "b", "c"], collection="x") == [1, None, 3]
        with pytest.raises(ValueTooLarge):
            await store.put_if_absent("b", "x" * 1_100_000)
        await store.put("b", "x" * 900_000)
        assert await store.get("b") == "x" * 900_000


@pytest.mark.parametrize("ttl", [None, 10_000_000])
async def test_a_refused_value_leaves_the_earlier_one(ttl: float | None) -> None:
    sizes = range(2**20 - 160, 2**20 + 1, 4)
    stored = []
    with MemcachedServer() as server:
        async with MemcachedStore(server.url) as store:
            for size in sizes:
                await store.put("k", "earlier")
                try:
                    await store.put("k", "x" * size, ttl=ttl)
                except ValueTooLarge:
                    assert await store.get("k") == "earlier"
                    with pytest.raises(ValueTooLarge):
                        await store.put_if_absent("new", "x" * size, ttl=ttl)
                else:
                    stored.append(size)
    assert stored == list(sizes[: len(stored)])
    assert stored


async def test_the_item_limit_of_a_server_that_was_started_again() -> None:
    with MemcachedServer("-I", "2m") as server:
        async with MemcachedStore(server.url) as store:
            await store.put("k", "x" * 1_500_000)
            server.arguments = ()
            server.restart()
            with contextlib.suppress(StoreUnavailable):  # the connection to the one before
                await store.get("k")
            await store.put("k", "earlier")
            with pytest.raises(ValueTooLarge):
                await store.put("k", "x" * 1_500_000)
            assert await store.get("k") == "earlier"


async def test_another_store_sees_that_a_namespace_was_destroyed(url: str, namespace: str) -> None:
    async with (
        MemcachedStore(url, namespace=namespace) as one,
        MemcachedStore(url, namespace=namespace) as two,
        MemcachedStore(url, namespace=namespace + "x") as other,
    ):
        await other.put("k", "other")
        assert not await one.destroy()
        for round_number in range(3):
            await one.put("k", round_number)
            assert await two.get("k") == round_number
            assert await two.destroy()
            assert not await one.destroy()
            assert await one.get_many(["k", "l"]) == [None, None]
            assert await one.put_if_absent("k", 1)
            assert await two.destroy()
            # The first write that finds another generation is made again in that one.
            await one.put_many(["k", "l"], [1, 2])
            assert await two.get_many(["k", "l"]) == [1, 2]
            assert await one.destroy()
            assert await two.increment("n") == 1
            assert await two.destroy()
        assert await other.get("k") == "other"


async def test_writes_at_once_that_find_another_generation_are_all_made_again(
    url: str, namespace: str
) -> None:
    keys = [f"k{number}" for number in range(8)]
    async with (
        MemcachedStore(url, namespace=namespace) as one,
        MemcachedStore(url, namespace=namespace) as two,
    ):
        await one.put("k", 0)
        assert await two.destroy()
        # The first answer tells the store the new generation, while the others are on their way.
        await asyncio.gather(*(one.put(key, key) for key in keys))
        assert await two.get_many(keys) == keys


async def test_a_generation_that_the_server_has_forgotten(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace, enumerate=True) as store:
        await store.put("k", 1)
        assert await talk(url, f"md {namespace}:generation".encode()) == b"HD\r\n"
        assert await store.get("k") is None  # it could have been destroyed meanwhile
        await store.put("k", 2)
        assert await store.get("k") == 2


@pytest.mark.parametrize(
    "item",
    [
        b"",
        b"+",
        b"x" * 300,
        b"\xff+x",
        b"0123456789ABCDEF",
        b"0123456789abcdef++",
        b"0123456789abcdef\n",
        b"g\r\nms %b:intruder 1\r\n1\r\nmg g",
    ],
)
async def test_an_item_that_is_no_generation_is_a_lost_one(
    url: str, namespace: str, item: bytes
) -> None:
    name = f"{namespace}:generation".encode()
    item = item.replace(b"%b", namespace.encode())
    set_item = b"ms %b %d T0\r\n%b" % (name, len(item), item)
    async with MemcachedStore(url, namespace=namespace, enumerate=True) as store:
        await store.put("k", 1)
        assert await talk(url, set_item) == b"HD\r\n"
        assert await store.get("k") is None
        assert await store.put_if_absent("k", 2)
        assert await store.get("k") == 2
        assert await talk(url, set_item) == b"HD\r\n"
        await store.put("k", 3)
        assert await store.get("k") == 3
        assert await store.keys() == ["k"]
        assert await talk(url, set_item) == b"HD\r\n"
        assert not await store.destroy()
        assert await store.increment("n") == 1
        assert await talk(url, b"mg %b:intruder v" % namespace.encode()) == b"EN\r\n"
        held = await talk(url, b"mg %b v" % name, b"\r\n")
        assert held == b"VA 17\r\n"


async def test_names_that_are_no_part_of_a_command_are_not_listed(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace, enumerate=True) as store:
        await store.put("k", 1)
        await store.put("k", 1, collection="c")
        dump = await talk(url, b"lru_crawler metadump hash", b"END\r\n")
        found = re.search(rb"key=(%b%%3A[0-9a-f]{16}%%3A)" % namespace.encode(), dump)
        assert found is not None
        root = unquote_to_bytes(found[1])
        for end in (b":x\r\nmd %b:k\r\nmg y" % root, b":\xff", b":a b"):
            name = b64encode(root + end)
            assert await talk(url, b"ms %b 1 T0 b\r\n1" % name) == b"HD\r\n"
        assert await store.keys() == ["k"]
        assert await store.collections() == ["c"]
        assert await store.get("k") == 1


async def test_damaged_values_are_corrupt_entries(url: str, namespace: str) -> None:
    long = "k" * 500
    async with MemcachedStore(url, namespace=namespace, enumerate=True) as store:
        await store.put_many(["a", long, "good"], [1, 2, 3])
        dump = await talk(url, b"lru_crawler metadump hash", b"END\r\n")
        for name in re.findall(rb"key=(%b%%3A[0-9a-f]{16}%%3A%%3A\S+)" % namespace.encode(), dump):
            if not name.endswith(b"good"):
                plain = unquote_to_bytes(name)
                assert await talk(url, b"ms %b 3 T0\r\n\xff\xff\xff" % plain) == b"HD\r\n"
        for key in ("a", long):
            with pytest.raises(CorruptEntry) as caught:
                await store.get(key)
            assert caught.value.key == key
            assert not await store.put_if_absent(key, 1)
        assert set(await store.keys()) <= {"a", "good"}
        await store.put("a", 1)
        assert await store.delete(long)
        assert sorted(await store.keys()) == ["a", "good"]


async def test_keys_are_spread_over_the_servers(url: str, namespace: str) -> None:
    with MemcachedServer() as other:
        both = f"{url},127.0.0.1:{other.port}"
        keys = [f"k{number}" for number in range(200)]
        async with MemcachedStore(both, namespace=namespace, enumerate=True) as store:
            await store.put_many(keys, keys)
            assert await store.get_many(keys) == keys
            assert sorted(await store.keys()) == sorted(keys)
            async with MemcachedStore(other.url, namespace=namespace, enumerate=True) as half:
                assert 50 < await half.count() < 150
            assert await store.increment("n") == 1
            assert await store.delete_many(keys[:100]) == 100
            assert await store.destroy()
            assert await store.keys() == []


async def test_listing_needs_to_be_asked_for(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace) as store:
        await store.put("k", 1)
        for call in (store.keys(), store.collections(), store.count()):
            with pytest.raises(UnsupportedOperation, match=r"enumerate=True|MemcachedStore"):
                await call


async def test_many_list_at_the_same_time(url: str, namespace: str) -> None:
    """The server lists for one connection at a time, and tells others that it is busy."""
    async with MemcachedStore(url, namespace=namespace, enumerate=True, timeout=60) as store:
        keys = sorted(f"k{number}" for number in range(3000))
        await store.put_many(keys, [0] * 3000, collection="c")
        for listed in await asyncio.gather(*(store.keys("c") for _ in range(8))):
            assert sorted(listed) == keys


async def test_conditional_writes_of_one_key_in_one_batch(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace) as store:
        await store.put("a", 1)
        (entry,) = await store.read(None, ["a"])
        assert entry is not None
        second = entry.with_expiry(time.time() + 50, entry.version ^ 1)
        third = entry.with_expiry(None, entry.version ^ 2)
        expected = [entry.version, second.version, entry.version]
        written = await store.write(None, ["a", "a", "a"], [second, third, second], expected)
        assert written == [True, True, False]
        assert await store.remove(None, ["a", "a"], [third.version] * 2) == [True, False]


def test_one_event_loop_after_another(url: str, namespace: str) -> None:
    store = MemcachedStore(url, namespace=namespace)
    for number in range(1, 4):
        assert asyncio.run(store.increment("n")) == number
    asyncio.run(store.close())
