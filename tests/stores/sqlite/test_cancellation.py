"""SQLiteStore: a call that was cancelled has been carried out or not when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from kvwrap import SQLiteStore, stack

KEYS = [f"k{number}" for number in range(4000)]


@pytest.mark.parametrize("wait", [0.0, 0.002, 0.01, 0.03, 0.06])
async def test_reads_after_a_cancelled_write_see_one_state(file: Path, wait: float) -> None:
    async with SQLiteStore(file) as store:
        await store.put_many(KEYS, ["old"] * len(KEYS))
        writing = asyncio.create_task(store.put_many(KEYS, ["new" + "x" * 2000] * len(KEYS)))
        await asyncio.sleep(wait)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        first = await store.get_many(KEYS)
        assert len(set(first)) == 1
        await asyncio.sleep(0.1)
        assert await store.get_many(KEYS) == first
        await store.put("k0", "newer")
        assert await store.get("k0") == "newer"


async def test_a_write_that_is_being_committed_ends_before_its_call(file: Path) -> None:
    chance = random.Random(5)
    async with SQLiteStore(file) as store:
        for number in range(300):
            writing = asyncio.create_task(store.put("k", number))
            until = time.perf_counter() + chance.random() * 0.001
            while time.perf_counter() < until:
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            first = await store.get("k")
            await asyncio.sleep(0.0005)
            assert await store.get("k") == first


async def test_a_long_transaction_is_interrupted(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        await store.check()
        executed: list[str] = []

        def trace(statement: str) -> None:
            executed.append(statement)
            time.sleep(0.001)  # so that the loop can cancel in time, however busy the machine is

        connections[0].set_trace_callback(trace)
        writing = asyncio.create_task(store.put_many(KEYS, ["x" * 20_000] * len(KEYS)))
        async with asyncio.timeout(30):
            while len(executed) < 10:
                await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert len(executed) < len(KEYS)
        assert await store.keys() == []


async def test_a_write_that_waits_for_another_process_is_cancelled_at_once(file: Path) -> None:
    async with SQLiteStore(file, timeout=30) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.put("a", 2))
            queued = asyncio.create_task(store.put("b", 2))
            await asyncio.sleep(0.02)
            started = time.monotonic()
            queued.cancel()
            writing.cancel()
            results = await asyncio.gather(writing, queued, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert time.monotonic() - started < 5
            other.execute("COMMIT")
        await asyncio.sleep(0.02)
        assert await store.get_many(["a", "b"]) == [1, None]


async def test_a_second_cancellation_does_not_end_the_call_earlier(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put_many(KEYS, ["old"] * len(KEYS))
        writing = asyncio.create_task(store.put_many(KEYS, ["new" + "x" * 2000] * len(KEYS)))
        await asyncio.sleep(0.02)
        while not writing.done():
            writing.cancel()
            await asyncio.sleep(0)
        first = await store.get_many(KEYS)
        await asyncio.sleep(0.1)
        assert await store.get_many(KEYS) == first


async def test_cancelled_calls_disturb_no_others(file: Path) -> None:
    async with SQLiteStore(file) as store:

        async def count(number: int) -> int:
            return await store.increment(f"n{number % 3}")

        tasks = [asyncio.create_task(count(number)) for number in range(300)]
        counted = 0
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, int | asyncio.CancelledError)
            counted += isinstance(result, int)
        totals = await store.get_many(["n1", "n2"])
        assert totals == [100, 100]
        assert counted >= 200


async def test_retries_within_a_timeout_count_once_and_keep_their_own_write(file: Path) -> None:
    """An attempt that the timeout has given up may have been committed."""
    stop = threading.Event()

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=5)) as other:
            while not stop.is_set():
                other.execute("BEGIN IMMEDIATE")
                time.sleep(0.012)
                other.execute("COMMIT")
                time.sleep(0.006)

    layers = stack().retry(attempts=5000, wait=0.001, max_wait=0.004).timeout(0.006)
    async with layers.over(SQLiteStore(file)) as store:
        await store.put("n", 0)
        thread = threading.Thread(target=hold)
        thread.start()
        try:
            for number in range(1, 80):
                assert await store.increment("n") == number
                assert await store.put_if_absent(f"lock {number}", number) is True
        finally:
            stop.set()
            thread.join()
