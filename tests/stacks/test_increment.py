"""Counting through encryption and compression, from several processes at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import Keyring, SQLiteStore, Store, stack
from kvwrap.stores.redis import RedisStore

TASKS, PROCESSES, EACH = 8, 2, 1000
KEYS = Keyring({"k": b"k" * 32})


def counted(where: str) -> Store:
    """The stack under test, over the backend of this URL."""
    base = RedisStore(where) if where.startswith("redis") else SQLiteStore(where)
    return stack().compress(min_size=0).encrypt(KEYS).over(base)


async def count(where: str) -> None:
    """Increment the counter, as each process does."""
    async with counted(where) as store:

        async def task() -> None:
            for _ in range(EACH):
                await store.increment("visits", collection="tests.stacks.test_increment")

        await asyncio.gather(*(task() for _ in range(TASKS)))


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_no_increment_is_lost(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """8 tasks in each of 2 processes, 1,000 increments each."""
    where = (
        str(tmp_path / "store.db") if backend == "sqlite" else request.getfixturevalue("redis_url")
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.stacks.test_increment", where]
    processes = [subprocess.Popen(command, cwd=root) for _ in range(PROCESSES)]
    try:
        assert [process.wait(timeout=100) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
            process.wait()
    async with counted(where) as store:
        total = await store.get("visits", collection="tests.stacks.test_increment")
        assert total == TASKS * PROCESSES * EACH
        await store.delete("visits", collection="tests.stacks.test_increment")


if __name__ == "__main__":
    asyncio.run(count(sys.argv[1]))
