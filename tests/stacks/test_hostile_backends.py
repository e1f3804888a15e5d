"""Damaged SQLite files and a server that lies: errors of kvwrap, in bounded time."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from kvwrap import KvwrapError, RedisStore, SQLiteStore, Store, stack
from tests.conftest import SOAK
from tests.mutations import mutate

FILES = 3_000 if SOAK else 150
ANSWERS = 20_000 if SOAK else 400


async def use(store: Store) -> str:
    """Use a store in every way. Returns the first error that is not of kvwrap."""
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        *(lambda: store.get("k0"), lambda: store.get_many(["k0", "k1"]), lambda: store.ttl("k1")),
        *(store.keys, store.collections, lambda: store.put("k0", 1), lambda: store.delete("k1")),
        *(lambda: store.increment("n"), lambda: store.expire("k0", 5), store.check),
        *(
            store.count,
            store.cull,
            lambda: store.pop("k2"),
            lambda: store.delete_where(prefix="k4"),
        ),
    )
    for call in calls:
        try:
            async with asyncio.timeout(30):
                await call()
        except KvwrapError:
            pass
        except Exception as error:
            return f"{type(error).__qualname__}: {error}"
    return ""


async def test_damaged_files(tmp_path: Path) -> None:
    path, broken = tmp_path / "store.db", tmp_path / "broken.db"
    async with SQLiteStore(path) as store:
        await store.put_many([f"k{n}" for n in range(50)], ["x" * 200] * 50)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    rng = random.Random(1)
    for number in range(FILES):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 5, 50))):
            start = rng.randrange(len(data)) if number % 2 else rng.randrange(200)
            data[start : start + 16] = mutate(rng, bytes(data[start : start + 16]))[:16]
        for leftover in tmp_path.glob("broken.db*"):
            leftover.unlink()
        broken.write_bytes(data)
        store = SQLiteStore(broken, timeout=0.1)
        try:
            fault = await use(store)
        finally:
            await store.close()
        assert not fault, f"file {number}: {fault}"


@pytest.mark.parametrize("value", ["NULL", "'x'", "''", "x'ff'", "1e300", "-1", "1 << 62"])
@pytest.mark.parametrize("column", ["collection", "key", "expires_at", "entry", "queue"])
@pytest.mark.parametrize("limits", [{}, {"max_entries": 9}], ids=str)
async def test_values_of_any_type_in_rows(
    tmp_path: Path, column: str, value: str, limits: dict[str, int]
) -> None:
    """Without the constraints of kvwrap's own table, which another program may have made.

    Versions are compared by SQLite alone.
    """
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        db.execute("CREATE TABLE kvwrap (collection, key, expires_at, version, entry, queue)")
        db.execute("CREATE UNIQUE INDEX names ON kvwrap (collection, key)")
    store = SQLiteStore(tmp_path / "store.db", **limits)
    for every in (False, True):
        await store.put_many([f"k{n}" for n in range(9)], ["x" * 200] * 9)
        with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
            row = "" if every else "WHERE key = 'k1'"
            db.execute(f"UPDATE OR REPLACE kvwrap SET {column} = {value} {row}")
        fault = await use(store)
        assert not fault, fault
    await store.close()


@pytest.mark.parametrize(
    "change",
    [
        *("DELETE FROM kvwrap_weights", "UPDATE kvwrap_weights SET entries = 'x'"),
        *("UPDATE kvwrap_weights SET bytes = x'ff'", "UPDATE kvwrap_weights SET main = main + 7"),
        *("UPDATE kvwrap_weights SET entries = 999, bytes = 1 << 40", "DELETE FROM kvwrap"),
        *("UPDATE kvwrap_weights SET entries = -1, bytes = -1", "DROP TRIGGER kvwrap_deleted"),
    ],
)
async def test_limits_hold_whatever_others_did_to_the_weights(tmp_path: Path, change: str) -> None:
    async with SQLiteStore(tmp_path / "store.db", max_entries=20) as store:
        for times in range(3):
            await store.put_many([f"k{n}" for n in range(15)], [1] * 15)
            with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                db.execute(change.replace("DROP TRIGGER", "DROP TRIGGER IF EXISTS"))
            for number in range(40):
                await store.put(f"{times}-{number}", 1)
            assert await store.get(f"{times}-39") == 1
        assert 0 < await store.count() <= 20


async def test_a_damaged_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    backend = SQLiteStore(tmp_path / "backend.db")
    async with stack().write_behind(path).over(backend) as store:
        await store.put_many([f"k{n}" for n in range(50)], ["x" * 200] * 50)
    whole = path.read_bytes()
    rng = random.Random(2)
    for number in range(FILES // 3):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 5, 50))):
            start = rng.randrange(len(data))
            data[start : start + 16] = mutate(rng, bytes(data[start : start + 16]))[:16]
        for leftover in tmp_path.glob("journal*"):
            leftover.unlink()
        path.write_bytes(data)
        try:
            async with stack().write_behind(path).over(SQLiteStore(":memory:")) as store:
                fault = await use(store)
        except KvwrapError:
            continue
        assert not fault, f"journal {number}: {fault}"


ANSWER = (
    *(b"+OK\r\n", b"-ERR x\r\n", b"-OOM x\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n"),
    *(b"$3\r\nabc\r\n", b"*1\r\n$3\r\nabc\r\n", b"*2\r\n$1\r\n0\r\n*0\r\n", b"_\r\n"),
    *(b"#t\r\n", b",1.5\r\n", b"%0\r\n", b"$9999999999\r\n", b"*2147483647\r\n", b"\xff"),
    *(b"*1\r\n" * 500, b":99999999999999999999\r\n", b">2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    *(b"-MOVED 5 127.0.0.1:7\r\n", b"-ASK 5 :1\r\n", b"$16\r\nmaxmemory:9999\r\nx\r\n"),
    b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n7\r\n",
    b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:PORT\r\n",
    *(b"*1\r\n:5\r\n", b"$2\r\n\xab\x6b\r\n", b"~1\r\n:1\r\n", b"*2\r\n$1\r\n0\r\n:1\r\n"),
)


SERVERS = (
    *("redis://127.0.0.1:{}/0", "redis://127.0.0.1:{}/0"),
    *("redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/service/0"),
)


async def test_a_server_that_lies() -> None:
    rng = random.Random(3)

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                for _ in range(rng.choice((1, 1, 2, 3))):
                    answer = rng.choice(ANSWER).replace(b"PORT", b"%d" % port)
                    writer.write(mutate(rng, answer)[:20_000] if rng.random() < 0.3 else answer)
                await writer.drain()
                if rng.random() < 0.1:
                    break
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(lie, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for number in range(ANSWERS // 10):
            url = SERVERS[number % 4].format(port)
            store = RedisStore(url, timeout=0.05, raw=number % 4 == 1)
            try:
                fault = await use(store)
            finally:
                await store.close()
            assert not fault, f"store {number}: {fault}"
        server.close()
