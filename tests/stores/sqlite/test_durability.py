"""SQLiteStore: commits, crashes, cancellation and many processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap.stores.sqlite import SQLiteStore


async def test_entries_outlive_the_store(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", {"x": 1}, collection="c", ttl=1000)
    async with SQLiteStore(file) as store:
        value, left = await store.ttl("a", collection="c")
    assert value == {"x": 1}
    assert left == pytest.approx(1000, abs=60)


@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1)])
async def test_a_commit_is_synced_to_the_disk(
    file: Path, connections: list[sqlite3.Connection], synchronous: str, level: int
) -> None:
    chosen = "" if synchronous == "full" else "?synchronous=normal"
    async with SQLiteStore.from_url(f"sqlite:///{file}{chosen}"):
        assert len(connections) == 2
        for connection in connections:
            for pragma, value in (
                ("synchronous", level),
                ("journal_mode", "wal"),
                ("fullfsync", 1),
                ("checkpoint_fullfsync", 1),
                ("secure_delete", 1),
            ):
                assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,), pragma


COUNTING = """
import asyncio, sys
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.stores.sqlite import SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1], timeout=60) as store:
        for _ in range(int(sys.argv[2])):
            await store.increment("count", collection="c")

asyncio.run(main())
"""


def _run(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_processes_that_start_at_once_share_a_counter_exactly(file: Path) -> None:
    # The file does not exist yet: all four create it, with its table and its index.
    processes = [_run(COUNTING, file, 100) for _ in range(4)]
    for process in processes:
        _, words = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, words.decode()
    async with SQLiteStore(file) as store:
        assert await store.get("count", collection="c") == 400


WRITING = """
import asyncio, sys
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    for i in range(1_000_000):
        await store.put_many([f"{i}/{j}" for j in range(5)], [i] * 5)
        print(i, flush=True)

asyncio.run(main())
"""


async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_batch(
    file: Path,
) -> None:
    for _ in range(3):
        process = _run(WRITING, file)
        assert process.stdout is not None
        last = -1
        for line in iter(process.stdout.readline, b""):
            last = int(line)
            if last >= 20:
                os.kill(process.pid, signal.SIGKILL)
                break
        rest, _ = process.communicate(timeout=20)
        acknowledged = max([last, *map(int, rest.split())])
        async with SQLiteStore(file) as store:
            for i in range(acknowledged + 2):
                batch = await store.get_many([f"{i}/{j}" for j in range(5)])
                assert batch in ([i] * 5, [None] * 5)
                assert batch == [i] * 5 or i > acknowledged
            assert await store.destroy() is True
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_cancelled_batch_is_whole_or_nothing_and_later_calls_work(file: Path) -> None:
    keys = [f"k{i}" for i in range(2000)]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, [0] * len(keys))
        for attempt in range(1, 8):
            task = asyncio.create_task(store.put_many(keys, [attempt] * len(keys)))
            await asyncio.sleep(attempt * 0.002)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await store.put("other", attempt)
            assert len(set(await store.get_many(keys))) == 1
            assert await store.get("other") == attempt


async def test_readers_do_not_wait_for_a_writer(file: Path) -> None:
    async with SQLiteStore(file, timeout=30) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.put("a", 2))
            assert await store.get("a") == 1
            assert not writing.done()
            other.execute("ROLLBACK")
        await writing
        assert await store.get("a") == 2


FORKING = """
import asyncio, os, sys
from kvwrap import StoreUnavailable
from kvwrap.stores.sqlite import SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await store.put("a", 1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store.get("a").send(None)
            except StoreUnavailable as error:
                code = 0 if "fork" in str(error) else 2
            except BaseException:
                code = 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get("a") == 1

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_use_in_a_forked_child_is_refused_and_does_not_hang(file: Path) -> None:
    process = _run(FORKING, file)
    _, output = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, output.decode()
