"""The same work without kvwrap: the bare driver and JSON, as a program would write it first."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import redis.asyncio

from examples.demo.records import Records
from examples.demo.workload import Comparison, Progress, fill, read

NAMESPACE = "kvwrap-demo-bare"
Value = dict[str, Any]


class Reader(Protocol):
    """What the workload reads from."""

    async def get(self, key: str, *, collection: str) -> Value | None:
        """Return one record."""

    async def get_many(self, keys: Sequence[str], *, collection: str) -> list[Value | None]:
        """Return several records."""


class Bare(Reader, Protocol):
    """A backend without a store around it."""

    async def put_many(
        self, keys: Sequence[str], values: Sequence[Value], *, collection: str, ttl: float
    ) -> None:
        """Put records."""

    async def stored_bytes(self) -> int:
        """Return the bytes that the records occupy."""

    async def close(self) -> None:
        """Close the connections, and delete the records from what goes on without this program."""


class Stopped(Exception):
    """The backend is stopped."""


class BareRedis:
    """Redis by its driver. A server of somebody else has its records deleted at the end."""

    def __init__(self, url: str, is_on: Callable[[], bool] | None = None) -> None:
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)
        self._is_on = is_on

    def _name(self, collection: str, key: str) -> str:
        if self._is_on and not self._is_on():
            raise Stopped
        return f"{NAMESPACE}:{collection}:{key}"

    async def put_many(
        self, keys: Sequence[str], values: Sequence[Value], *, collection: str, ttl: float
    ) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for key, value in zip(keys, values, strict=True):
                pipe.set(self._name(collection, key), json.dumps(value), ex=int(ttl))
            await pipe.execute()

    async def get(self, key: str, *, collection: str) -> Value | None:
        data = await self._client.get(self._name(collection, key))
        return None if data is None else json.loads(data)

    async def get_many(self, keys: Sequence[str], *, collection: str) -> list[Value | None]:
        found = await self._client.mget([self._name(collection, key) for key in keys])
        return [None if data is None else json.loads(data) for data in found]

    async def _names(self) -> list[bytes]:
        return [name async for name in self._client.scan_iter(f"{NAMESPACE}:*", count=1000)]

    async def stored_bytes(self) -> int:
        async with self._client.pipeline(transaction=False) as pipe:
            for name in await self._names():
                pipe.strlen(name)
            return sum(await pipe.execute())

    async def close(self) -> None:
        names = await self._names() if self._is_on else []
        for start in range(0, len(names), 1000):
            await self._client.delete(*names[start : start + 1000])
        await self._client.aclose()


class BareSQLite:
    """A SQLite file by Python's own module, on a thread."""

    def __init__(self, path: Path, is_on: Callable[[], bool]) -> None:
        self._path, self._is_on = path, is_on
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE records (name TEXT PRIMARY KEY, value TEXT)")
        self._turn = asyncio.Lock()

    async def _run(self, work: Callable[[], Any]) -> Any:
        if not self._is_on():
            raise Stopped
        async with self._turn:
            return await asyncio.to_thread(work)

    async def put_many(
        self, keys: Sequence[str], values: Sequence[Value], *, collection: str, ttl: float
    ) -> None:
        rows = [
            (f"{collection}:{key}", json.dumps(value))
            for key, value in zip(keys, values, strict=True)
        ]

        def put() -> None:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", rows)

        await self._run(put)

    async def get(self, key: str, *, collection: str) -> Value | None:
        return (await self.get_many([key], collection=collection))[0]

    async def get_many(self, keys: Sequence[str], *, collection: str) -> list[Value | None]:
        names = [f"{collection}:{key}" for key in keys]
        marks = ", ".join("?" * len(names))
        query = f"SELECT name, value FROM records WHERE name IN ({marks})"  # marks
        found = dict(await self._run(lambda: list(self._connection.execute(query, names))))
        return [json.loads(found[name]) if name in found else None for name in names]

    async def stored_bytes(self) -> int:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._path.stat().st_size

    async def close(self) -> None:
        self._connection.close()


class _Failing:
    """Reads that fail count as records that are missing."""

    def __init__(self, bare: Bare) -> None:
        self._bare = bare

    async def get(self, key: str, *, collection: str) -> Value | None:
        return (await self.get_many([key], collection=collection))[0]

    async def get_many(self, keys: Sequence[str], *, collection: str) -> list[Value | None]:
        try:
            return await self._bare.get_many(keys, collection=collection)
        except (redis.RedisError, OSError, Stopped):
            return [None] * len(keys)


class Baseline(NamedTuple):
    """What the bare driver did."""

    seconds: float
    stored_bytes: int
    answered: int


async def measure(
    bare: Bare,
    records: Records,
    reads: int,
    outage_reads: int,
    progress: Progress,
    stop: Callable[[], None],
    start: Callable[[], None],
) -> Baseline:
    """Fill a backend, read it, and read it while it is stopped. The records are deleted then."""
    await fill(bare, records, lambda _: None)
    comparison, outage = Comparison(records), Comparison(records)
    begin = time.perf_counter()
    await read(bare, records, reads, comparison, progress, phase="before")
    seconds = time.perf_counter() - begin
    stored = await bare.stored_bytes()
    stop()
    await read(_Failing(bare), records, outage_reads, outage, progress, phase="outage")
    start()
    await bare.close()
    return Baseline(seconds, stored, outage.equal)
