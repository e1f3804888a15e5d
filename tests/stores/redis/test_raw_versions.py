"""Conditional writes over values of another program, from two processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from typing import Any

import redis.asyncio

from kvwrap import Keyring, RedisStore, SQLiteStore, adapt, stack
from kvwrap.testing import RedisServer

INCREMENT = """
import asyncio, sys
from kvwrap import RedisStore, stack

async def main():
    store = stack().serialize("json").over(RedisStore(sys.argv[1], raw=True))
    async with store:
        for _ in range(150):
            await store.increment("n")

asyncio.run(main())
"""


async def test_two_processes_lose_no_increment_of_a_foreign_number(
    own_server: RedisServer,
) -> None:
    async with redis.asyncio.Redis.from_url(own_server.url) as client:
        await client.set("n", b"0")
        command = [sys.executable, "-c", INCREMENT, own_server.url]
        processes = [subprocess.Popen(command) for _ in range(2)]
        codes = [await asyncio.to_thread(process.wait) for process in processes]
        assert codes == [0, 0]
        assert await client.get("n") == b"300"


async def test_a_version_is_of_the_bytes_and_of_the_key(own_server: RedisServer) -> None:
    async with (
        RedisStore(own_server.url, raw=True) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.mset({"a": b"same", "b": b"same"})
        a, b = [await store.get_versioned(key) for key in ("a", "b")]
        assert a is not None
        assert b is not None
        assert a.version != b.version
        assert await store.compare_and_put("b", b"new", a.version) is False
        await client.set("b", b"other")
        await client.set("b", b"same")
        assert await store.compare_and_put("b", b"new", b.version) is True
        removed = await store.remove(None, ["a", "a"], [b.version, a.version])
        assert removed == [False, True]


async def test_foreign_bytes_in_a_namespace_have_no_version(own_server: RedisServer) -> None:
    """They are neither absent nor of any version, so only an unconditional write replaces them."""
    async with (
        RedisStore(own_server.url) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        await client.set("kvwrap::k", b"foreign")
        assert await store.put_if_absent("k", 1) is False
        assert await store.compare_and_put("k", 1, 0) is False
        assert await client.get("kvwrap::k") == b"foreign"
        await store.put("k", 1)
        assert await store.get("k") == 1


async def test_equal_values_have_different_versions_when_they_are_sealed(
    own_server: RedisServer,
) -> None:
    layers = stack().serialize("json").encrypt(Keyring.generate(), accept_plaintext=True)
    async with redis.asyncio.Redis.from_url(own_server.url) as client:
        await client.mset({"a": b'{"n": 1}', "b": b'{"n": 1}'})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = layers.over(RedisStore(own_server.url, raw=True))
        async with store:
            entries = await store.read(None, ["a", "b"])
            read = [entry.version for entry in entries if entry is not None]
            await store.write(None, ["a", "b"], [entry for entry in entries if entry is not None])
        values: list[Any] = await client.mget("a", "b")
        stored = [int.from_bytes(value[15:23], "big") for value in values]
        assert len({*read, *stored}) == 4


async def test_an_entry_copied_to_a_file_has_one_version_there(tmp_path: object) -> None:
    source = adapt({"k": {"n": 1}})
    entries = [entry for entry in await source.read(None, ["k"]) if entry is not None]
    async with SQLiteStore(f"{tmp_path}/store.db") as target:
        await target.write(None, ["k"], entries)
        versioned = await target.get_versioned("k")
        assert versioned is not None
        assert versioned.version != entries[0].version
        assert await target.compare_and_put("k", {"n": 2}, versioned.version) is True
