"""LMDBStore: the map that grows, `max_bytes`, full disks, and the space of expired entries."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvwrap import LMDBStore, StoreFull, ValueTooLarge
from kvwrap.testing import ManualClock

MIB = 1 << 20


async def _fill(store: LMDBStore, size: int = 2000) -> int:
    """Put values until there is no space. Returns how many were put."""
    count = 0
    for batch in (50, 1):
        is_full = False
        while not is_full:
            keys = [f"k{number}" for number in range(count, count + batch)]
            try:
                await store.put_many(keys, ["x" * size] * batch, ttl=1000)
                count += batch
            except StoreFull:
                is_full = True
    return count


async def _outcome(call: Awaitable[None]) -> BaseException | None:
    return (await asyncio.gather(call, return_exceptions=True))[0]


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_the_map_grows_by_itself(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        for number in range(12):
            await store.put(f"k{number}", "x" * (12 * MIB))
        await store.put("one", "y" * (150 * MIB))
        assert await store.get("k11") == "x" * (12 * MIB)
        assert await store.count() == 13
    assert (folder / "data.mdb").stat().st_size > 290 * MIB


@pytest.mark.parametrize("max_bytes", [4 * MIB, 9 * MIB + 1000])
async def test_a_full_environment_can_be_emptied_and_filled_again(
    folder: Path, max_bytes: int
) -> None:
    async with LMDBStore(folder, synchronous="off", max_bytes=max_bytes) as store:
        counts = set()
        for round_number in range(6):
            count = await _fill(store)
            counts.add(count)
            assert count * 2000 > max_bytes / 3
            assert await store.count() == count
            if round_number % 2:
                assert await store.delete("k5")
                await store.put("k5", "x" * 1000)
                keys = [f"k{number}" for number in range(0, count, 2)]
                assert await store.delete_many(keys) == len(keys)
            assert await store.expire("k7", 50)
            assert await store.destroy()
            assert await store.keys() == []
        assert len(counts) <= 2, "no space is lost"
        assert (folder / "data.mdb").stat().st_size <= max_bytes


async def test_a_full_environment_is_culled(folder: Path, clock: ManualClock) -> None:
    async with LMDBStore(folder, synchronous="off", max_bytes=8 * MIB, clock=clock) as store:
        count = await _fill(store)
        clock.advance(1000)
        await store.cull()
        assert records_at_rest(folder) == 0
        assert await _fill(store) == count


async def test_a_full_disk_can_be_emptied_and_written_again(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await store.put("a", 1)
        for _ in range(3):
            with limited_files(6 * MIB + 1000):
                count = await _fill(store)
                assert count * 2000 > 2 * MIB
                assert await store.get_many(["a", "k0"]) == [1, "x" * 2000]
                with pytest.raises(StoreFull):
                    await store.put("large", "x" * (20 * MIB))
                keys = [f"k{number}" for number in range(count)]
                assert await store.delete_many(keys) == count
                await store.put("k", "there is space again")
        assert await store.get_many(["a", "k"]) == [1, "there is space again"]


async def test_a_disk_without_space_for_a_new_environment(folder: Path) -> None:
    store = LMDBStore(folder)
    for size in (1000, 200_000):
        with limited_files(size), pytest.raises(StoreFull):
            await store.put("a", 1)
    await store.put("a", 1)
    assert await store.get("a") == 1
    await store.close()


async def test_an_entry_that_can_never_fit_is_refused(folder: Path) -> None:
    async with LMDBStore(folder, synchronous="off", max_bytes=4 * MIB) as store:
        with pytest.raises(ValueTooLarge) as caught:
            await store.put_many(["a", "b"], ["x", "y" * MIB], collection="c")
        assert (caught.value.key, caught.value.collection) == ("b", "c")
        assert await store.get("a", collection="c") is None
        await store.put("a", "y" * (MIB - 1000))


async def test_the_error_of_a_write_without_space_is_its_own(folder: Path) -> None:
    """Writes that wait together share a transaction. One that fails must not fail the others."""
    async with LMDBStore(folder, synchronous="off", max_bytes=4 * MIB) as store:
        await store.put_many([f"old{number}" for number in range(300)], ["x" * 5000] * 300)
        results = await asyncio.gather(
            store.put("small", 1),
            store.put_many([f"k{number}" for number in range(100)], ["x" * 50_000] * 100),
            store.delete("old1"),
            store.put("other", 2),
            return_exceptions=True,
        )
        assert isinstance(results[1], StoreFull)
        assert [results[0], *results[2:]] == [None, True, None]
        assert await store.get_many(["small", "k0", "old1", "other"]) == [1, None, None, 2]


async def test_writes_free_the_space_of_expired_entries(folder: Path, clock: ManualClock) -> None:
    async with LMDBStore(folder, synchronous="off", clock=clock) as store:
        await store.put_many([f"k{number}" for number in range(20)], [0] * 20, ttl=10)
        await store.put_many(["k1", "k2"], [1, 1])  # no longer expires
        await store.put("k3", 1, ttl=50)
        await store.expire("k4", 60)
        await store.delete("k5")
        clock.advance(10)
        assert await store.keys() == ["k1", "k2", "k3", "k4"]
        assert records_at_rest(folder) == 19
        await store.put_many([f"n{number}" for number in range(4)], [0] * 4)
        assert records_at_rest(folder) == 19 + 4 - 8
        await store.cull()
        assert records_at_rest(folder) == 8
        clock.advance(40)
        assert await store.get_many(["k3", "k4"]) == [None, 0]
        clock.advance(10)
        await store.cull()
        assert await store.get_many(["k1", "k2", "k3", "k4"]) == [1, 1, None, None]


def records_at_rest(folder: Path) -> int:
    """Count the records at rest, expired ones included, in a process of its own."""
    program = (
        "import lmdb, sys\n"
        "environment = lmdb.open(sys.argv[1], max_dbs=2, readonly=True, create=False)\n"
        "database = environment.open_db(b'kvwrap.entries.1', create=False)\n"
        "with environment.begin() as transaction:\n"
        "    print(transaction.stat(database)['entries'])\n"
    )
    return int(
        subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, check=True, timeout=60
        ).stdout
    )


async def test_dead_readers_give_their_pages_back(folder: Path) -> None:
    program = (
        "import lmdb, os, signal, sys\n"
        "environment = lmdb.open(sys.argv[1], max_dbs=2, create=False, map_size=1 << 26)\n"
        "reading = environment.begin()\n"
        "print('reading', flush=True)\n"
        "sys.stdin.read()\n"
    )
    async with LMDBStore(folder, synchronous="off", max_bytes=8 * MIB) as store:
        await store.put("a", 1)
        reader = subprocess.Popen(
            [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        assert reader.stdin is not None
        try:
            assert reader.stdout.readline() == b"reading\n"
            results = [
                await _outcome(store.put("b", "x" * (MIB // 2) + str(number)))
                for number in range(100)
            ]
            assert isinstance(results[-1], StoreFull)
        finally:
            reader.kill()
            reader.wait()
            reader.stdin.close()
            reader.stdout.close()
        for number in range(100):
            await store.put("b", "x" * (MIB // 2) + str(number))
        assert await store.get("a") == 1
