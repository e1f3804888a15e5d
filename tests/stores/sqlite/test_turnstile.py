"""SQLiteStore: processes that wait to write have their turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import Keyring, SQLiteStore, StoreTimeout, stack
from kvwrap.stores.sqlite.turnstile import SUFFIX, Turnstile


def test_one_that_waits_is_the_next(file: Path) -> None:
    file.touch(0o640)
    file.chmod(0o640)
    one, two = Turnstile(str(file)), Turnstile(str(file))
    assert one.enter() is True
    assert one.enter() is True
    assert two.enter() is False
    one.leave()
    assert two.enter() is True
    assert one.enter() is False
    beside = Path(f"{file}{SUFFIX}")
    assert beside.stat().st_mode & 0o777 == 0o640, "for those who may use the database"
    two.close()
    assert one.enter() is True
    one.close()
    assert not beside.exists()
    one.close()


def test_a_file_that_was_removed_is_replaced(file: Path) -> None:
    file.touch()
    one, two = Turnstile(str(file)), Turnstile(str(file))
    assert one.enter() is True
    assert two.enter() is False
    Path(f"{file}{SUFFIX}").unlink()
    assert two.enter() is False, "now it looks for the file that newcomers have"
    assert two.enter() is True
    newcomer = Turnstile(str(file))
    assert newcomer.enter() is False
    for each in (one, two, newcomer):
        each.close()


def test_without_the_file_nobody_waits(tmp_path: Path) -> None:
    turnstile = Turnstile(str(tmp_path / "missing" / "entries.db"))
    assert turnstile.enter() is True
    turnstile.leave()
    turnstile.close()


async def test_a_store_waits_while_another_is_the_next(file: Path) -> None:
    async with SQLiteStore(file, timeout=60) as store:
        await store.put("a", 1)
        other = Turnstile(str(file))
        assert other.enter() is True
        writing = asyncio.create_task(store.put("a", 2))
        await asyncio.wait([writing], timeout=0.1)
        assert not writing.done()
        assert await store.get("a") == 1
        other.leave()
        await writing
        assert await store.get("a") == 2
        other.close()


async def test_waiting_for_another_ends_at_the_timeout(file: Path) -> None:
    async with SQLiteStore(file, timeout=0.05) as store:
        await store.put("a", 1)
        other = Turnstile(str(file))  # a process that was stopped while it was the next
        assert other.enter() is True
        with pytest.raises(StoreTimeout):
            await store.put("a", 2)
        assert await store.get("a") == 1
        other.close()
        await store.put("a", 3)


async def test_a_store_that_cannot_write_lets_others_be_the_next(file: Path) -> None:
    async with SQLiteStore(file, timeout=0) as store:
        other = Turnstile(str(file))
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for number in range(3):
                with pytest.raises(StoreTimeout):
                    await store.put("a", number)
                while not other.enter():  # the store's thread leaves after its answer
                    await asyncio.sleep(0.01)
                other.leave()
        other.close()


SHARING = """
import asyncio, sys
from kvwrap import SQLiteStore

async def main():
    number, processes, total = map(int, sys.argv[2:])
    async with SQLiteStore(sys.argv[1], timeout=100) as store:
        await store.put(f"{number}", 0, collection="ready")
        while await store.count(collection="ready") < processes:
            await asyncio.sleep(0.01)
        mine = 0
        while await store.increment("n") < total:
            mine += 1
        print(mine)

asyncio.run(main())
"""

COUNTING = """
import asyncio, sys
from kvwrap import Keyring, SQLiteStore, stack

async def main():
    layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
    async with layers.over(SQLiteStore(sys.argv[1], timeout=100)) as store:
        async def count():
            for _ in range(250):
                await store.increment("n")
        await asyncio.gather(*(count() for _ in range(8)))

asyncio.run(main())
"""


async def run(program: str, arguments: list[list[object]]) -> list[str]:
    """Run processes at the same time, and return what they print."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, each)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ,
        )
        for each in arguments
    ]
    printed = []
    for process in processes:
        output, words = await asyncio.to_thread(process.communicate, timeout=100)
        assert process.returncode == 0, words.decode()
        printed.append(output.decode())
    return printed


async def test_eight_processes_that_start_at_once_all_have_their_share(file: Path) -> None:
    total = 800
    shares = [int(text) for text in await run(SHARING, [[file, n, 8, total] for n in range(8)])]
    # Each gets about 100. A busy machine may hold up some of them, and not one for ever.
    assert min(shares) >= 10, shares


async def test_increments_of_two_processes_are_all_counted(file: Path) -> None:
    await run(COUNTING, [[file], [file]])
    layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
    async with layers.over(SQLiteStore(file)) as store:
        assert await store.get("n") == 4000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file modes are POSIX's")
async def test_closing_leaves_the_file_to_others(file: Path) -> None:
    async with SQLiteStore(file) as one:
        async with SQLiteStore(file) as two:
            await two.put("a", 1)
            await one.put("a", 1)
        assert Path(f"{file}{SUFFIX}").exists()
    assert [path.name for path in file.parent.iterdir()] == [file.name]
