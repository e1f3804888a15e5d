"""`SQLiteStore` compared with the bare driver on a thread, and with other libraries over SQLite.

Every put has another value, since SQLite neither writes nor syncs a page that does not change.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import diskcache
import keyvalue_sqlite
import msgspec

from benchmarks.table import Row, ratio
from benchmarks.timing import Pair, Work, pair, repeated
from kvwrap import SQLiteStore
from kvwrap.core.threads import SingleThread

KEYS = [f"key:{number}" for number in range(100)]
TASKS = 64
AT_MOST = 1.3

_numbers = itertools.count()
_SCHEMA = "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB)"
_PUT = "INSERT INTO entries VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_GET = "SELECT key, value FROM entries WHERE key IN ({})"
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON")


def value() -> dict[str, Any]:
    """Return a value that differs from all others."""
    return {"name": "Ada Lovelace", "visits": next(_numbers), "note": "x" * 60}


class Driver:
    """The driver, with a connection and a thread for reading and another for writing.

    Its settings are those of the store: each transaction is on the disk before it returns.
    """

    def __init__(self, path: Path) -> None:
        self._threads = [SingleThread("driver"), SingleThread("driver reader")]
        self._writer, self._reader = (
            sqlite3.connect(path, isolation_level=None, check_same_thread=False) for _ in "12"
        )
        for pragma in _PRAGMAS:
            self._writer.execute(f"PRAGMA {pragma}")
        self._writer.execute(_SCHEMA)

    async def put(self, *keys: str) -> None:
        """Write keys in one transaction."""
        values = [value() for _ in keys]
        await asyncio.wrap_future(self._threads[0].submit(self._put, keys, values))

    async def get(self, *keys: str) -> None:
        """Read keys with one statement."""
        await asyncio.wrap_future(self._threads[1].submit(self._get, keys))

    def _put(self, keys: tuple[str, ...], values: list[Any]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany(_PUT, zip(keys, map(msgspec.json.encode, values), strict=True))
        self._writer.execute("COMMIT")

    def _get(self, keys: tuple[str, ...]) -> dict[str, Any]:
        marks = ",".join("?" * len(keys))
        rows = self._reader.execute(_GET.format(marks), keys)
        return {key: msgspec.json.decode(data) for key, data in rows}

    def close(self) -> None:
        """Close the connections and end the threads."""
        for thread in self._threads:
            thread.shutdown()
        self._writer.close()
        self._reader.close()


class Aiosqlite:
    """aiosqlite with the same settings and statements."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path) -> Aiosqlite:
        """Open a file and create the table."""
        connection = await aiosqlite.connect(path, isolation_level=None)
        for pragma in _PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
        await connection.execute(_SCHEMA)
        return cls(connection)

    async def put(self, key: str) -> None:
        """Write a key; a statement outside a transaction is one of its own."""
        await self._connection.execute(_PUT, (key, msgspec.json.encode(value())))

    async def get(self, key: str) -> None:
        """Read a key."""
        async with self._connection.execute(_GET.format("?"), (key,)) as cursor:
            row = await cursor.fetchone()
        msgspec.json.decode(row[1] if row else b"")

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def by_tasks(put: Callable[[str, Any], Awaitable[object]]) -> Work:
    """Return the work in which 64 tasks put as many values as it is told, in all."""

    async def work(count: int) -> None:
        async def task(number: int) -> None:
            for _ in range(count // TASKS):
                await put(KEYS[number], value())

        await asyncio.gather(*map(task, range(TASKS)))

    return work


def blocking(put: Callable[[str, Any], object]) -> Work:
    """Return the same work for a library whose calls block; no thread makes that slower."""

    async def put_at_once(key: str, item: Any) -> None:
        put(key, item)

    return by_tasks(put_at_once)


def puts(name: str, measured: Pair, times: float) -> Row:
    """Return a row that compares puts per second."""
    found = 1 / measured.ratio
    return Row(
        f"`SQLiteStore`, 64 tasks that put: {name}",
        f"{1e6 / measured.ours:,.0f}/s",
        f"{1e6 / measured.theirs:,.0f}/s",
        f"{found:.1f} times",
        f"at least {times:g} times",
        found >= times,
    )


async def rows() -> AsyncIterator[Row]:
    """Measure single calls, batches of 100, and tasks that put at the same time."""
    timed = partial(pair, clock=time.perf_counter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driver = Driver(folder / "driver.db")
        other = await Aiosqlite.open(folder / "aiosqlite.db")
        async with SQLiteStore(folder / "store.db") as store:
            await store.put_many(KEYS, [value() for _ in KEYS])
            await driver.put(*KEYS)
            for key in KEYS:
                await other.put(key)
            key = KEYS[5]
            get, put = partial(store.get, key), lambda: store.put(key, value())
            get_many = partial(store.get_many, KEYS)
            for title, ours, theirs, count in (
                ("get", get, partial(driver.get, key), 300),
                ("put", put, partial(driver.put, key), 50),
                ("`get_many` of 100", get_many, partial(driver.get, *KEYS), 50),
                (
                    "`put_many` of 100",
                    lambda: store.put_many(KEYS, [value() for _ in KEYS]),
                    partial(driver.put, *KEYS),
                    50,
                ),
                ("get, aiosqlite", get, partial(other.get, key), 300),
                ("put, aiosqlite", put, partial(other.put, key), 50),
            ):
                measured = await timed(repeated(ours), repeated(theirs), count, count)
                yield ratio(f"`SQLiteStore`: {title}", measured, AT_MOST, str(AT_MOST))
            await other.close()
            driver.close()

            cache = diskcache.Cache(str(folder / "diskcache"))
            lines = keyvalue_sqlite.KeyValueSqlite(str(folder / "lines.db"), "entries")
            count = TASKS * 20
            measured = await timed(by_tasks(store.put), blocking(cache.set), count, count)
            yield puts("`full`, diskcache with `NORMAL`", measured, 2)
            async with SQLiteStore(folder / "normal.db", synchronous="normal") as normal:
                measured = await timed(by_tasks(normal.put), blocking(cache.set), count, count)
                yield puts("`normal`, diskcache with `NORMAL`", measured, 2)
            measured = await timed(by_tasks(store.put), blocking(lines.set), count, TASKS)
            yield puts("`full`, keyvalue-sqlite with `FULL`", measured, 5)
            cache.close()
