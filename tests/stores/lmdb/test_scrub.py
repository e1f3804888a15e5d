"""LMDBStore: what was overwritten or deleted is erased."""

from __future__ import annotations

import asyncio
from pathlib import Path

import lmdb
import pytest

from kvwrap import Keyring, LMDBStore, StoreFull, StoreTimeout, rewrite, stack
from tests.stores.lmdb.test_processes import running

SECRET = "plaintext"
READING = """
import lmdb, sys
environment = lmdb.open(sys.argv[1], max_dbs=2, create=False, map_size=1 << 26)
with environment.begin():
    print("reading", flush=True)
    sys.stdin.read()
"""


async def _fill(store: LMDBStore) -> None:
    """Put small values and large ones, in two collections, and replace or delete some of them."""
    for collection in (None, "c"):
        keys = [f"k{number}" for number in range(700)]
        await store.put_many(keys, [SECRET] * 700, collection=collection, ttl=1e6)
        await store.put_many(keys[:60], [SECRET * 1000] * 60, collection=collection)
        await store.delete_many(keys[40:300], collection=collection)
        for key in keys[300:320]:
            await store.put(key, "short", collection=collection)


def _remains(folder: Path) -> int:
    return (folder / "data.mdb").read_bytes().count(SECRET.encode())


async def test_rewriting_leaves_no_plaintext(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await _fill(store)
        assert _remains(folder) > 1000
        layers = stack().encrypt(Keyring({"k": b"k" * 32}), accept_plaintext=True)
        layers = layers.silence("migration-open")
        encrypted = layers.over(store)
        await rewrite(encrypted)
        assert _remains(folder) == 0
        assert await encrypted.get("k1", collection="c") == SECRET * 1000
        assert await encrypted.get("k699") == SECRET
        assert await encrypted.get("k310") == "short"
        assert await store.count() == 440
        assert (await encrypted.ttl("k699"))[1] == pytest.approx(1e6, abs=100)


async def test_what_was_deleted_is_erased(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await _fill(store)
        assert await store.destroy()
        size = (folder / "data.mdb").stat().st_size
        for _ in range(3):
            await store.scrub()
        assert _remains(folder) == 0
        assert (folder / "data.mdb").stat().st_size <= size + (2 << 20)
        await store.put("a", 1, ttl=50)
        assert await store.get("a") == 1
        await store.cull()
        assert await store.keys() == ["a"]


async def test_writes_go_on_meanwhile(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await _fill(store)

        async def count() -> None:
            for _ in range(100):
                await store.increment("n")

        await asyncio.gather(store.scrub(), count(), count())
        assert await store.get("n") == 200
        await store.scrub()
        assert await store.count() == 441


async def test_a_process_that_reads_all_the_time_keeps_the_old_pages(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await _fill(store)
        await store.put_many([f"l{number}" for number in range(100)], ["x" * 100_000] * 100)
        with running(READING, folder):
            await store.delete_many([f"l{number}" for number in range(100)])
            with pytest.raises(StoreTimeout, match="try again"):
                await store.scrub()
        await store.scrub()  # gives back what the killed process held
        assert await store.count() == 440


async def test_scrubbing_within_max_bytes(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off", max_bytes=8 << 20) as store:
        await _fill(store)
        await store.scrub()
        with pytest.raises(StoreFull):
            await store.put_many([f"x{number}" for number in range(9000)], ["x" * 1000] * 9000)
        await store.scrub()
        assert await store.count() == 440
    with lmdb.open(str(folder), max_dbs=2) as environment:
        assert environment.info()["last_pgno"] < (8 << 20) // 4096
