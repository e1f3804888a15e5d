"""Reads of SQLiteStore that are made at once, on the thread of the event loop, and others."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kvwrap import StoreTimeout
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.stores.sqlite.table import Table
from tests.stores.at_once import read_without_a_pause, recorded_threads

LARGEST = 16 * 1024 - len('""') - 28 - 1
"""Characters of the largest text that is read at once, with its header and the codec's name."""


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Return a list that gets the thread of every read that returned something."""
    return recorded_threads(monkeypatch, Table, "read", "read_small")


async def test_small_reads_are_made_at_once_and_others_on_a_thread(
    file: Path, readers: list[threading.Thread]
) -> None:
    here = threading.current_thread()
    many = [f"m{number}" for number in range(129)]
    async with SQLiteStore(file) as store:
        await store.put_many(many, [1] * 129)
        await store.put("a", "x" * LARGEST)
        await store.put("larger", "x" * (LARGEST + 1))
        for wanted, is_here in (
            (["a"], True),
            (["larger"], False),
            (["a", "larger", "missing"], False),
            (many[:128], True),
            (many, False),
        ):
            values = await store.get_many(wanted)
            assert [value is None for value in values] == [key == "missing" for key in wanted]
            assert [thread is here for thread in readers] == [is_here]
            readers.clear()
    async with SQLiteStore(file, read_only=True) as store:
        assert await store.get("m1") == 1
        assert readers.pop() is here
    async with SQLiteStore(file, threaded_reads=True) as store:
        assert await store.get("m1") == 1
        assert readers.pop() is not here


async def test_reads_with_the_only_connection_are_made_on_a_thread(
    file: Path, readers: list[threading.Thread]
) -> None:
    with contextlib.closing(sqlite3.connect(file, check_same_thread=False)) as client:
        for store in (SQLiteStore(":memory:"), SQLiteStore(client=client)):
            async with store:
                await store.put("a", 1)
                assert await store.get("a") == 1
                assert readers.pop() is not threading.current_thread()


async def test_a_read_waits_for_the_connection_without_blocking_the_event_loop(
    file: Path, readers: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    count = Table.count_range

    def counting(*arguments: Any) -> int:
        has_begun.set()
        assert may_end.wait(30)
        return count(*arguments)

    monkeypatch.setattr(Table, "count_range", counting)
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        counted = asyncio.create_task(store.count())
        assert await asyncio.to_thread(has_begun.wait, 30)
        read = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        assert not read.done()
        may_end.set()
        assert (await counted, await read) == (1, 1)
        assert readers.pop() is not threading.current_thread()


@pytest.fixture
async def lock(file: Path) -> AsyncIterator[Callable[[str], object]]:
    """Return what executes statements with another connection to a file without a log.

    In an exclusive transaction of that connection, nobody can read.
    """
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE").fetchall()
        yield other.execute


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set once a read on a thread has found the file locked."""
    attempted = threading.Event()
    read = Table.read

    def trying(*arguments: Any) -> Any:
        try:
            return read(*arguments)
        except sqlite3.OperationalError:
            attempted.set()
            raise

    monkeypatch.setattr(Table, "read", trying)
    return attempted


async def test_a_read_waits_for_a_file_that_is_locked(
    file: Path, lock: Callable[[str], object], attempt: threading.Event
) -> None:
    async with SQLiteStore(file, read_only=True, timeout=60) as store:
        lock("BEGIN EXCLUSIVE")
        read = asyncio.create_task(store.get("a"))
        assert await asyncio.to_thread(attempt.wait, 30)
        assert not read.done()
        lock("ROLLBACK")
        assert await read == 1
    async with SQLiteStore(file, read_only=True, timeout=0) as store:
        lock("BEGIN EXCLUSIVE")
        with pytest.raises(StoreTimeout, match="timeout=0 seconds"):
            await store.get("a")
        lock("ROLLBACK")
        assert await store.get("a") == 1


async def test_a_read_that_waits_for_a_locked_file_is_cancelled_at_once(
    file: Path, lock: Callable[[str], object], attempt: threading.Event
) -> None:
    async with SQLiteStore(file, read_only=True, timeout=3600) as store:
        lock("BEGIN EXCLUSIVE")
        read = asyncio.create_task(store.get("a"))
        assert await asyncio.to_thread(attempt.wait, 30)
        read.cancel()
        async with asyncio.timeout(60):
            await asyncio.wait([read])
        assert read.cancelled()
        lock("ROLLBACK")
        assert await store.get("a") == 1


async def test_reads_without_a_pause_let_other_tasks_run(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await read_without_a_pause(store)


async def test_a_turn_of_the_event_loop_reads_so_many_keys_at_once(
    file: Path, readers: list[threading.Thread]
) -> None:
    here = threading.current_thread()
    async with SQLiteStore(file) as store:
        await asyncio.gather(*(store.get_many(["a", "b", "c"]) for _ in range(200)))
        # Calls for which a turn has no keys left wait for the next one, and then for a thread.
        assert [thread is here for thread in readers].count(True) == 2 * (128 // 3)
        readers.clear()
        await asyncio.sleep(0)
        await store.get_many([str(number) for number in range(128)])
        await store.get_many([str(number) for number in range(128)])
        assert [thread is here for thread in readers] == [True, True]
