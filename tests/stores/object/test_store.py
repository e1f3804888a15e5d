"""ObjectStore: objects, conditions, expiry, listings, other programs' objects and ready clients."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from kvwrap import ConfigurationError, CorruptEntry, ObjectStore, UnsupportedOperation
from kvwrap.core.primitives import KeyRange
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import MotoServer, SharedServers
from tests.buckets import s3_bucket
from tests.stores.object.conftest import Service
from tests.stores.object.proxy import Exchange, Proxy


async def paths(client: Any, service: Service) -> list[str]:
    found = await obstore.list(client, service.prefix).collect_async()
    return sorted(each["path"].removeprefix(f"{service.prefix}/") for each in found)


async def test_an_entry_is_an_object(store: ObjectStore, client: Any, service: Service) -> None:
    await store.put("user:1.json", {"a": 1})
    await store.put("a b/c", 1, collection="things")
    await store.put("a", 1, collection="_")
    assert await paths(client, service) == [
        "=5f/a.kv",
        "_/user:1.json.kv",
        "things/a=20b=2fc.kv",
    ]
    got = await obstore.get_async(client, f"{service.prefix}/_/user:1.json.kv")
    assert (await got.bytes_async()).to_bytes().endswith(b'{"a":1}')


async def test_the_size_of_an_object_tells_whether_it_may_expire(
    store: ObjectStore, client: Any, service: Service
) -> None:
    for length in range(4):
        await store.put(f"stays {length}", "x" * length)
        await store.put(f"ends {length}", "x" * length, ttl=60)
    found = await obstore.list(client, service.prefix).collect_async()
    assert {(each["size"] % 2, "ends" in each["path"]) for each in found} == {(0, False), (1, True)}


async def test_increments_of_two_stores_are_exact(service: Service) -> None:
    async with service.store() as one, service.store() as two:

        async def count(store: ObjectStore) -> None:
            for _ in range(25):
                await store.increment("n")

        await asyncio.gather(*(count(store) for store in (one, two) for _ in range(2)))
        assert await one.get("n") == 100


async def test_a_conditional_deletion_leaves_an_object_that_is_over(
    store: ObjectStore, client: Any, service: Service
) -> None:
    await store.put_many(["a", "b"], [1, 2])
    versioned = await store.get_versioned("a")
    assert versioned is not None
    assert await store.compare_and_delete("a", versioned.version)
    assert not await store.compare_and_delete("a", versioned.version)
    assert await store.get("a") is None
    assert await store.keys() == ["b"]
    assert await paths(client, service) == ["_/a.kv", "_/b.kv"]
    assert not await store.delete("a")
    assert await store.put_if_absent("a", 3)
    assert await store.delete("a")
    assert await paths(client, service) == ["_/b.kv"]
    await store.pop("b")
    await store.cull()
    assert await paths(client, service) == []


async def test_culling_frees_what_has_expired_and_nothing_else(
    store: ObjectStore, client: Any, service: Service, clock: ManualClock
) -> None:
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=[10, 20, None], collection="c")
    await store.put("k" * 2000, 1, ttl=10)
    for other in ("other", "c/other", "c/other.kv", "c/d/other.kv", "=zz/a.kv"):
        await obstore.put_async(client, f"{service.prefix}/{other}", b"other's")
    await store.cull()
    clock.advance(15)
    assert len(await paths(client, service)) == 9
    assert sorted(await store.keys("c")) == ["b", "c", "other"]
    await store.cull()
    left = ["=zz/a.kv", "c/b.kv", "c/c.kv", "c/d/other.kv", "c/other", "c/other.kv", "other"]
    assert await paths(client, service) == left
    assert await store.get_many(["b", "c"], collection="c") == [2, 3]


async def test_culling_keeps_what_is_written_meanwhile(service: Service) -> None:
    clock = service.clock

    class Late(ManualClock):
        """A clock by which entries have expired that have not by that of the others."""

        def time(self) -> float:
            return clock.time() + 1000

    keys = [f"k{number}" for number in range(30)]
    async with service.store() as store, service.store(clock=Late()) as late:
        await store.put_many(keys, keys, ttl=10)

        async def write() -> None:
            for key in keys:
                await store.put(key, "new")

        await asyncio.gather(late.cull(), write())
        assert await store.get_many(keys) == ["new"] * len(keys)


async def test_a_service_that_deletes_without_the_condition_is_found_out(
    servers: SharedServers, clock: ManualClock
) -> None:
    """Its objects stay, since one could be deleted that was written meanwhile."""

    async def handle(request: bytes, exchange: Exchange) -> bytes:
        return await exchange(re.sub(rb"(?i)\r\nif-match: [^\r]*", b"", request))

    endpoint = servers.url(MotoServer)
    url = s3_bucket(endpoint)
    async with (
        Proxy(endpoint, handle) as proxy,
        ObjectStore(url, prefix="found-out", endpoint=proxy.url, timeout=60, clock=clock) as store,
    ):
        await store.put("a", 1, ttl=10)
        await store.put("b", 1)
        clock.advance(11)
        with pytest.raises(UnsupportedOperation, match="does not heed If-Match"):
            await store.cull()
        assert await store.keys() == ["b"]
        assert await store.destroy()


async def test_listings_read_no_objects_that_never_expire(
    service: Service, clock: ManualClock
) -> None:
    async with service.store() as store:
        keys = [f"key {number:04}" for number in range(30)]
        await store.put_many(keys, keys)
        client = service.client()
        for key in keys:  # what is there is of the same size, and no entry
            path = f"{service.prefix}/_/{key.replace(' ', '=20')}.kv"
            await obstore.put_async(client, path, b"xx")
        assert sorted(await store.keys()) == keys
        assert await store.count(prefix="key 001") == 10
        assert await store.count(prefix="nothing") == 0


async def test_an_object_of_another_form_is_an_error(
    store: ObjectStore, client: Any, service: Service
) -> None:
    for content in (b"", b"x", b"theirs", b"\x01theirs", b"\x02\x00theirs"):
        await obstore.put_async(client, f"{service.prefix}/_/a.kv", content)
        with pytest.raises(CorruptEntry) as caught:
            await store.get("a")
        assert (caught.value.key, caught.value.store) == ("a", "ObjectStore")
        assert not await store.put_if_absent("a", 1)
        assert not await store.compare_and_put("a", 1, 5)
    await store.put("a", 1)
    assert await store.get("a") == 1


async def test_long_names_and_names_that_look_escaped(store: ObjectStore) -> None:
    names = [
        "ü" * 512,
        "k" * 1024,
        "k" * 1025,
        "k" * 5000,
        "=",
        "=20",
        "==",
        "a\0b",
        ".",
        "..",
        "a.",
    ]
    for collection in (None, "c" * 1500, "=", ".", "a."):
        await store.put_many(names, names, collection=collection)
        assert sorted(await store.keys(collection)) == sorted(names)
        assert await store.count(collection=collection, prefix="k" * 1000) == 3
    assert await store.collections() == [".", "=", "a.", "c" * 1500]
    assert await store.destroy_collection("c" * 1500)
    assert await store.collections() == [".", "=", "a."]


async def test_a_page_can_be_requested_again(store: ObjectStore) -> None:
    names = [f"k{number:04}" for number in range(510)]
    await store.put_many(names, names)
    first = await store.list_keys(None, KeyRange(), None)
    assert list(first.keys) == names[:500]
    for _ in range(3):
        second = await store.list_keys(None, KeyRange(), first.cursor)
        assert list(second.keys) == names[500:]
    assert await store.keys(limit=3) == names[:3]
    assert await store.delete_where(prefix="k00") == 100


async def test_values_larger_than_a_part(store: ObjectStore) -> None:
    large = "x" * 11_000_000
    await store.put("a", large)
    assert await store.put_if_absent("b", large)
    assert await store.get_many(["a", "b"]) == [large, large]
    assert await store.expire("a", 100)
    assert await store.get("a") == large


async def test_destroying_leaves_other_prefixes_and_objects_alone(
    store: ObjectStore, client: Any, service: Service
) -> None:
    async with service.store(prefix=f"{service.prefix}-x") as other:
        await other.put("a", 1)
        await store.put_many([f"k{number}" for number in range(60)], range(60), collection="c")
        await obstore.put_async(client, f"{service.prefix}/c/theirs", b"x")
        assert await store.destroy()
        assert not await store.destroy()
        assert await other.get("a") == 1
        assert await paths(client, service) == ["c/theirs"]


async def test_a_store_of_the_driver(service: Service) -> None:
    client = service.client(prefix="mine")
    async with ObjectStore(client=client, prefix=service.prefix, timeout=60) as store:
        await store.put("a", 1, ttl=0.01)
        await store.put_many(["b", "c"], [2, 3])
        while await store.exists("a"):
            await asyncio.sleep(0.01)
        await store.cull()
        assert await store.keys() == ["b", "c"]
        assert await store.delete_many(["b", "c"]) == 2
    assert await obstore.list(client, service.prefix).collect_async() == []
    # It belongs to no event loop, and is not closed.
    again = ObjectStore(client=client, prefix=service.prefix, timeout=60)
    assert await asyncio.to_thread(lambda: asyncio.run(again.exists("a"))) is False
    assert await again.exists("a") is False
    await again.close()


def test_stores_of_the_driver_that_are_refused(service: Service, tmp_path: Any) -> None:
    refused = {
        "FileTreeStore": LocalStore(tmp_path),
        "kvwrap.MemoryStore|MemoryStore keeps": MemoryStore(),
        "max_retries": service.client(retry_config={"max_retries": 3}),
        "retry_config": service.client(retry_config=None),
        "got object": object(),
    }
    for message, client in refused.items():
        with pytest.raises(ConfigurationError, match=message):
            ObjectStore(client=client)  # type: ignore[arg-type]  # to be refused
    with pytest.raises(ConfigurationError, match="`region` must not be given with a client"):
        ObjectStore(client=service.client(), region="eu-1")


async def test_a_repeated_deletion_of_objects_that_are_gone(service: Service) -> None:
    async with service.store() as one, service.store() as two:
        keys = [f"k{number}" for number in range(20)]
        await one.put_many(keys, keys)
        counts = await asyncio.gather(one.delete_many(keys), two.delete_many(keys))
        assert sum(counts) >= len(keys)  # each may have seen it
        assert await one.keys() == []
