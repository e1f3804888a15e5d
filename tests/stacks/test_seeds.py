"""Processes that seed `random` alike do not mistake each other's writes for their own."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import MemoryStore, SQLiteStore, Store, store_from_url
from kvwrap.testing import RedisServer

LOCKS = 60
INCREMENTS = 2000
"""Of each process."""

WORKER = """
import asyncio, random, sys
from kvwrap import store_from_url

async def main(url, locks, increments):
    async with store_from_url(url) as store:
        await store.check()
        print("ready", flush=True)
        sys.stdin.readline()
        random.seed(42)
        won = [n for n in range(locks) if await store.put_if_absent(f"lock {n}", "mine")]
        for number in range(increments):
            if number % 50 == 0:
                random.seed(42 + number)
            await store.increment("n")
        print(*won, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_two_processes_with_equal_seeds(kind: str, tmp_path: Path) -> None:
    with RedisServer() as server:
        url = server.url if kind == "redis" else f"sqlite:///{tmp_path}/a.db"
        arguments = [sys.executable, "-c", WORKER, url, str(LOCKS), str(INCREMENTS)]
        workers = [
            subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert await asyncio.to_thread(worker.stdout.readline) == "ready\n"
        outputs = await asyncio.gather(
            *(asyncio.to_thread(worker.communicate, "go\n", 100) for worker in workers)
        )
        won = [int(number) for output, _ in outputs for number in output.split()]
        assert sorted(won) == list(range(LOCKS))
        async with store_from_url(url) as store:
            assert await store.get("n") == 2 * INCREMENTS


async def test_a_version_is_of_one_write_whatever_the_seed(tmp_path: Path, redis_url: str) -> None:
    stores: list[Store] = [
        MemoryStore(),
        SQLiteStore(tmp_path / "a.db"),
        store_from_url(f"{redis_url}?namespace=seeds"),
    ]
    for store in stores:
        async with store:
            random.seed(42)
            await store.put("k", "first")
            seen = await store.get_versioned("k")
            assert seen is not None
            random.seed(42)
            await store.put("k", "second")
            assert await store.compare_and_put("k", "made of the first", seen.version) is False
            assert await store.get("k") == "second"
            await store.destroy()
