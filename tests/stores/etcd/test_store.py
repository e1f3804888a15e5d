"""EtcdStore: names, batches, leases, pages, ready clients and URLs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel, UnaryUnaryMethod

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    EtcdStore,
    StoreUnavailable,
    ValueTooLarge,
    store_from_url,
)
from kvwrap.stores.etcd.protocol import messages
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import EtcdServer


async def call(client: Channel, name: str, **fields: Any) -> Any:
    """Call etcd with the bare driver."""
    service, message = ("Lease", "LeaseGrant") if name == "LeaseGrant" else ("KV", name)
    request, response = (getattr(messages(), message + kind) for kind in ("Request", "Response"))
    method = UnaryUnaryMethod(client, f"/etcdserverpb.{service}/{name}", request, response)
    return await method(request(**fields))


async def found(client: Channel, prefix: str) -> dict[bytes, Any]:
    """Return everything in etcd that begins with a prefix, by its name without it."""
    start = prefix.encode()
    answer = await call(client, "Range", key=start, range_end=start + b"\xff")
    return {kv.key.removeprefix(start): kv for kv in answer.kvs}


async def test_the_names_in_etcd(store: EtcdStore, client: Channel, prefix: str) -> None:
    await store.put("k:1", 1)
    await store.put("k", 1, collection="a:b%")
    assert set(await found(client, prefix)) == {b"::k:1", b":a%3Ab%25:k"}


async def test_prefixes_do_not_touch_one_another(url: str, prefix: str) -> None:
    async with (
        EtcdStore(url, prefix=prefix) as one,
        EtcdStore(url, prefix=prefix + "/x") as two,
        EtcdStore(url, prefix=prefix + ":x") as three,
    ):
        await one.put("k", 1, collection="x")
        await two.put("k", 2)
        await three.put("k", 3)
        assert await one.collections() == ["x"]
        assert await one.destroy()
        assert not await one.destroy()
        assert [await two.get("k"), await three.get("k")] == [2, 3]


async def test_names_of_any_length_and_order(store: EtcdStore) -> None:
    names = ["a", "a\0", "é", "￿", "\U00010000", "z" * 5000, "z" * 4999]
    await store.put_many(names, names, collection="c" * 3000)
    assert await store.keys("c" * 3000) == sorted(names)
    assert await store.get_many(names, collection="c" * 3000) == names
    assert await store.collections() == ["c" * 3000]
    listed = [key async for key in store.scan(collection="c" * 3000, start="a\0", end="￿")]
    assert listed == ["a\0", "z" * 4999, "z" * 5000, "é"]
    assert [key async for key in store.scan(collection="c" * 3000, start="b", end="a")] == []


async def test_batches_over_the_limits_of_a_transaction(store: EtcdStore) -> None:
    keys = [f"k{number:04}" for number in range(300)]
    await store.put_many(keys, keys)
    assert await store.get_many([*keys, "missing"]) == [*keys, None]
    large = ["x" * 700_000 + str(number) for number in range(5)]
    await store.put_many(keys[:5], large)
    assert await store.get_many(keys[:5]) == large
    long = [f"{number}" + "k" * 100_000 for number in range(40)]
    await store.put_many(long, range(40), ttl=1000)
    assert await store.get_many(long) == list(range(40))
    assert await store.delete_many([*keys, *long, "missing", keys[0]]) == 340
    assert await store.keys() == []


async def test_conditions_in_batches(store: EtcdStore) -> None:
    keys = [f"k{number:03}" for number in range(300)]
    assert await store.put_if_absent("k007", "first")
    counts = await asyncio.gather(*(store.increment(key, 2) for key in keys if key != "k007"))
    assert counts == [2] * 299
    assert await store.put_many(keys, keys) is None
    entries = await store.read(None, keys)
    versions = [entry.version for entry in entries if entry is not None]
    versions[5] += 1
    removed = await store.remove(None, [*keys, keys[0]], [*versions, None])
    assert removed == [index not in (5, 300) for index in range(301)]
    assert await store.keys() == ["k005"]


async def test_servers_with_lower_limits_get_smaller_transactions() -> None:
    with EtcdServer("--max-txn-ops", "10", "--max-request-bytes", "20000") as server:
        async with EtcdStore(server.url) as store:
            keys = [f"k{number}" for number in range(60)]
            values = ["x" * 1000] * 60
            await store.put_many(keys, values)
            assert await store.get_many(keys) == values
            with pytest.raises(ValueTooLarge, match="max-request-bytes") as caught:
                await store.put_many(keys, [*values[:30], "x" * 30_000, *values[31:]])
            assert caught.value.key == "k30"
            assert caught.value.succeeded == tuple(keys[:30])
            assert await store.delete_many(keys) == 60


async def test_a_value_over_the_limit_in_the_middle_of_a_batch(store: EtcdStore) -> None:
    large = "x" * (1536 * 1024)
    with pytest.raises(ValueTooLarge, match=r"1\.5 MiB") as caught:
        await store.put_many(["a", "b", "c"], [1, large, 3])
    assert caught.value.key == "b"
    assert caught.value.succeeded == ("a",)
    assert await store.get_many(["a", "b", "c"]) == [1, None, None]
    await store.put("b", "x" * 1_500_000)
    for size in (3, 30):
        with pytest.raises(ValueTooLarge):
            await store.put("b", "x" * size * 1024 * 1024)
    assert await store.get("b") == "x" * 1_500_000


async def test_entries_with_nearby_ends_share_a_lease(
    store: EtcdStore, client: Channel, prefix: str
) -> None:
    await store.put_many([f"k{number}" for number in range(50)], range(50), ttl=3600)
    await asyncio.gather(*(store.put(f"s{number}", number, ttl=3600) for number in range(50)))
    await store.put("forever", 1)
    await store.put("longest", 1, ttl=1e11)
    kvs = await found(client, prefix)
    assert kvs[b"::forever"].lease == 0
    assert len({kv.lease for kv in kvs.values()}) <= 4  # the end of a lease may be in between
    await store.put("k1", 1)
    assert (await found(client, prefix))[b"::k1"].lease == 0


async def test_etcd_frees_expired_entries(url: str, client: Channel, prefix: str) -> None:
    async with EtcdStore(url, prefix=prefix) as store:
        await store.put_many(["a", "b"], [1, 2], ttl=[0.2, None])
        while await store.get("a") is not None:
            await asyncio.sleep(0.05)
        while len(await found(client, prefix)) > 1:
            await asyncio.sleep(0.2)
        assert await store.keys() == ["b"]


async def test_a_lease_that_the_server_lost_is_replaced(
    own_server: EtcdServer, clock: ManualClock
) -> None:
    async with EtcdStore(own_server.url, clock=clock) as store:
        await store.put("a", 1, ttl=1000)
        for lease in own_server.call("lease/leases")["leases"]:
            own_server.call("lease/revoke", ID=lease["ID"])
        assert await store.get("a") is None
        await store.put("a", 2, ttl=1000)
        assert await store.put_if_absent("b", 3, ttl=1000)
        assert await store.get_many(["a", "b"]) == [2, 3]


async def test_expired_entries_are_hidden_and_freed(
    store: EtcdStore, client: Channel, prefix: str, clock: ManualClock
) -> None:
    await store.put_many(["a", "b"], [1, 2], ttl=[1000, None])
    await store.put("c", 3, collection="other", ttl=1000)
    clock.advance(1000)
    assert len(await found(client, prefix)) == 3
    assert await store.keys() == ["b"]
    assert await store.collections() == []
    assert await store.delete("a") is False
    await store.put("a", 1, ttl=1000)
    clock.advance(1000)
    assert await store.put_if_absent("a", 2, ttl=500)
    await store.cull()
    assert set(await found(client, prefix)) == {b"::a", b"::b"}


async def test_pages_are_of_one_moment(store: EtcdStore) -> None:
    keys = [f"k{number:04}" for number in range(1200)]
    await store.put_many(keys, keys, ttl=[1000 if number % 3 else None for number in range(1200)])
    pages = store.scan(prefix="k")
    listed = [await anext(pages)]
    await store.put("k0600+", 1)
    await store.delete("k1199")
    listed += [key async for key in pages]
    assert listed == keys
    assert await store.count(prefix="k10") == 100
    assert await store.delete_where(prefix="k0") == 1001


async def test_a_listing_goes_on_after_a_compaction(own_server: EtcdServer) -> None:
    async with EtcdStore(own_server.url) as store:
        keys = [f"k{number:04}" for number in range(700)]
        await store.put_many(keys, keys)
        pages = store.scan()
        listed = [await anext(pages)]
        await store.put("k0699", 1)
        revision = own_server.call("kv/range", key="AA==")["header"]["revision"]
        own_server.call("kv/compaction", revision=revision, physical=True)
        listed += [key async for key in pages]
        assert listed == keys


async def test_keys_of_other_programs_are_left_alone(
    store: EtcdStore, client: Channel, prefix: str
) -> None:
    start = prefix.encode()
    theirs = [b"", b"/a", b":", b":c", b":%zz:k", b":\xff:k", b":c:", b":c:\xff", b";"]
    for name in theirs:
        await call(client, "Put", key=start + name, value=b"theirs")
    assert await store.collections() == []
    assert await store.keys("c") == []
    await store.put("k", 1, collection="c")
    await call(client, "Put", key=start + b":c:l", value=b"theirs")
    assert await store.keys("c") == ["k", "l"]
    for value in (b"", b"null", b"theirs"):
        await call(client, "Put", key=start + b":c:l", value=value)
        with pytest.raises(CorruptEntry):
            await store.get("l", collection="c")
        with pytest.raises(CorruptEntry):
            await store.increment("l", collection="c")
        assert not await store.put_if_absent("l", 1, collection="c")
    await store.cull()
    assert (await found(client, prefix)).keys() >= {*theirs, b":c:l"}
    assert await store.destroy()
    assert set(await found(client, prefix)) == {b"", b"/a", b":", b";"}


async def test_a_client_of_the_user_is_not_closed(client: Channel, prefix: str) -> None:
    async with EtcdStore(client=client, prefix=prefix) as store:
        await store.put("a", 1)
    assert len(await found(client, prefix)) == 1
    other = EtcdStore(client=client, prefix=prefix)
    assert await other.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(other.get("a")))


def sockets() -> set[str]:
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {link for link in links if link.startswith("socket:")}


def test_nothing_is_left_open(url: str, prefix: str) -> None:
    async def use(store: EtcdStore) -> None:
        await store.put("a", 1, ttl=100)

    async def use_and_close(store: EtcdStore) -> None:
        await use(store)
        await store.close()

    before = sockets()
    store = EtcdStore(url, prefix=prefix)
    asyncio.run(use(store))
    assert len(sockets() - before) == 1
    asyncio.run(use(store))
    assert len(sockets() - before) == 1
    asyncio.run(use_and_close(store))
    assert sockets() <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_connection_of_its_own(url: str, prefix: str) -> None:
    store = EtcdStore(url, prefix=prefix)
    with asyncio.Runner() as runner:
        runner.run(store.put("a", "parent"))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(store.put("a", "child"))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(store.get("a")) == "child"
        runner.run(store.close())


def test_urls() -> None:
    store = store_from_url("etcd://user:hunter2@one:1,two/things?timeout=none&tls=true")
    assert isinstance(store, EtcdStore)
    assert store.location == "prefix 'things' of etcd at one:1,two:2379"
    assert "hunter2" not in repr(store) + store.explain()
    assert EtcdStore("etcd://").location == "prefix 'kvwrap' of etcd at localhost:2379"
    assert store.capabilities == set(Capability)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `url` or `client`"),
        ({"url": "redis://h"}, "must begin with etcd://"),
        ({"url": "etcd://h/b?timeout=3"}, "pass them to EtcdStore as"),
        ({"url": "etcd://h/a", "prefix": "b"}, "given once"),
        ({"url": "etcd://h", "timeout": 0}, "timeout"),
        ({"url": "etcd://h", "ca": "/nowhere"}, "`ca` must be a file"),
        ({"client": object()}, r"grpclib\.client\.Channel; got object"),
    ],
)
def test_options_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EtcdStore(**arguments)


def test_unknown_options_of_a_url() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'timeout'"):
        store_from_url("etcd://h/b?timeuot=3")
    with pytest.raises(ConfigurationError, match="'#'"):
        store_from_url("etcd://h/b#x?timeout=3")
