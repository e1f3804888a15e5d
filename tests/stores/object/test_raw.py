"""ObjectStore with `raw=True`: objects of other programs."""

from __future__ import annotations

import asyncio
from typing import Any

import obstore
import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    InvalidKey,
    Keyring,
    UnsupportedOperation,
    stack,
    store_from_url,
)
from kvwrap.core.serializer import JSON
from tests.stores.object.conftest import Service


class Bucket:
    """The objects below the prefix, as another program sees them."""

    def __init__(self, service: Service) -> None:
        self._client = service.client()
        self._start = f"{service.prefix}/"

    async def put(self, path: str, content: bytes) -> None:
        await obstore.put_async(self._client, self._start + path, content)

    async def get(self, path: str) -> bytes:
        found = await obstore.get_async(self._client, self._start + path)
        return bytes(await found.bytes_async())

    async def paths(self) -> list[str]:
        pages = obstore.list(self._client, self._start.rstrip("/"))
        found = [each["path"] async for page in pages for each in page]
        return sorted(path.removeprefix(self._start) for path in found)


@pytest.fixture
def bucket(service: Service) -> Bucket:
    return Bucket(service)


async def test_values_are_the_objects(service: Service, bucket: Bucket) -> None:
    await bucket.put("report.txt", b"\x00\xff")
    await bucket.put("2026/é x%20.json", b'{"a": 1}')
    async with service.store(raw=True) as store:
        assert await store.get("report.txt") == b"\x00\xff"
        assert await store.ttl("report.txt") == (b"\x00\xff", None)
        assert await store.get("2026/é x%20.json") == b'{"a": 1}'
        assert await store.get("é x%20.json", collection="2026") == b'{"a": 1}'
        assert await store.get_many(["report.txt", "none"]) == [b"\x00\xff", None]
        await store.put_many(["x", "y"], [b"", b"2"], collection="c")
        assert await bucket.get("c/x") == b""
        assert await bucket.get("c/y") == b"2"
        assert sorted(await store.keys("c")) == ["x", "y"]
        assert sorted(await store.keys()) == ["2026/é x%20.json", "c/x", "c/y", "report.txt"]
        assert [key async for key in store.scan(prefix="report.txt")] == ["report.txt"]
        assert [key async for key in store.scan(collection="c", prefix="y")] == ["y"]
        assert await store.delete("report.txt")
        assert not await store.delete("report.txt")
        assert await store.delete_many(["x", "y"], collection="c") == 2
    assert await bucket.paths() == ["2026/é x%20.json"]


async def test_prefixes_that_are_no_path(service: Service, bucket: Bucket) -> None:
    paths = [".hidden", "..b", "a/.c", "a/..d", "a/e", "b"]
    for path in paths:
        await bucket.put(path, b"1")
    async with service.store(raw=True) as store:
        for prefix in (
            ".",
            "..",
            "...",
            "./",
            "a/.",
            "a/..",
            "a/",
            "a//",
            "/",
            "a/./e",
            "\0",
            "a\0",
        ):
            wanted = [path for path in paths if path.startswith(prefix)]
            assert sorted(await store.keys(prefix=prefix)) == sorted(wanted), prefix


async def test_conditions_compare_what_others_wrote(service: Service, bucket: Bucket) -> None:
    await bucket.put("k", b"one" * 100)
    async with service.store(raw=True) as store:
        versioned = await store.get_versioned("k")
        assert versioned is not None
        assert await store.get_versioned("k") == versioned
        await bucket.put("k", b"one" * 99 + b"two")
        assert not await store.compare_and_put("k", b"three", versioned.version)
        assert not await store.compare_and_delete("k", versioned.version)
        versioned = await store.get_versioned("k")
        assert versioned is not None
        assert await store.compare_and_put("k", b"three", versioned.version)
        assert await bucket.get("k") == b"three"
        assert not await store.put_if_absent("k", b"four")
        assert await store.pop("k") == b"three"
        assert await store.put_if_absent("k", b"five")
        assert await store.move("k", "l", target_collection="c")
        assert await bucket.paths() == ["c/l"]
        assert await bucket.get("c/l") == b"five"


async def test_counters_of_others_are_counted_on(service: Service, bucket: Bucket) -> None:
    await bucket.put("n", b"41")
    async with service.store(raw=True, serializer=JSON) as store:
        await asyncio.gather(*(store.increment("n") for _ in range(3)))
        assert await bucket.get("n") == b"44"


async def test_what_expires_or_what_layers_change_has_a_header(
    service: Service, bucket: Bucket
) -> None:
    await bucket.put("theirs", b"1")
    base = service.store(raw=True)
    async with base:
        await base.put("k", b"soon over", ttl=10)
        assert (await bucket.get("k")).endswith(b"soon over")
        assert await base.ttl("k") == (b"soon over", 10)
        assert sorted(await base.keys()) == ["k", "theirs"]
        service.clock.advance(11)
        assert await base.get("k") is None
        assert await base.keys() == ["theirs"]
        assert await bucket.paths() == ["k", "theirs"]
        await base.cull()
        assert await bucket.paths() == ["theirs"]
        assert await base.expire("theirs", 10)
        assert await base.expire("theirs", None)
        assert await bucket.get("theirs") == b"1"
    store = stack().encrypt(Keyring({"k": b"k" * 32})).over(service.store(raw=True))
    async with store:
        await store.put("secret", b"text")
        assert await store.get("secret") == b"text"
        assert b"text" not in await bucket.get("secret")


async def test_content_that_begins_like_an_entry(service: Service, bucket: Bucket) -> None:
    async with service.store(raw=True) as store:
        await store.put("k", b"x", ttl=10)
        start = (await bucket.get("k"))[:2]
        await store.put("looks", start + b" like one")
        assert await store.get("looks") == start + b" like one"
        await bucket.put("theirs", start + b" is not one")
        with pytest.raises(CorruptEntry) as caught:
            await store.get("theirs")
        assert caught.value.key == "theirs"
        assert not await store.put_if_absent("theirs", b"1")
        assert await bucket.get("theirs") == start + b" is not one"


async def test_what_others_own_is_not_dropped(service: Service, bucket: Bucket) -> None:
    for path in ("a", "c/a", "cc/a"):
        await bucket.put(path, b"1")
    async with service.store(raw=True) as store:
        assert not {Capability.DESTROY, Capability.COLLECTIONS} & store.capabilities
        for call in (store.destroy(), store.collections()):
            with pytest.raises(UnsupportedOperation):
                await call
        assert await store.destroy_collection("c")
        assert await bucket.paths() == ["a", "cc/a"]


@pytest.mark.parametrize(
    "key", ["/a", "a/", "a//b", ".", "a/../b", "a\nb", "a\x7f", "é" * 510, "x/./y"]
)
async def test_keys_that_are_no_path(service: Service, key: str) -> None:
    async with service.store(raw=True) as store:
        for call in (store.get(key), store.put(key, b"1"), store.get("k", collection=key)):
            with pytest.raises(InvalidKey, match="path of an object"):
                await call


async def test_a_bucket_without_a_prefix_is_read_whole(service: Service, bucket: Bucket) -> None:
    await bucket.put("k", b"1")
    async with service.store(raw=True, prefix=None) as store:
        assert await store.get(f"{service.prefix}/k") == b"1"
        assert await store.get("k", collection=service.prefix) == b"1"
        assert [key async for key in store.scan(prefix=service.prefix)] == [f"{service.prefix}/k"]


@pytest.mark.parametrize("arguments", [{"raw": "yes"}, {"raw": True, "default_collection": "c"}])
def test_what_cannot_work(service: Service, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        service.store(**arguments)


def test_the_option_of_a_url() -> None:
    store = store_from_url("s3://bucket/a?raw=true&region=eu-1")
    assert "raw" in store.traits
