"""Damaged SQLite files and a server that lies: errors of kvwrap, in bounded time."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

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
    *(b"*1\r\n:5\r\n", b"$2\r\n\xab\x6b\r\n", b"~1\r\n:1\r\n", b"*2\r\n$1\r\n0\r\n:1\r\n"),
)


async def test_a_server_that_lies() -> None:
    rng = random.Random(3)

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                for _ in range(rng.choice((1, 1, 2, 3))):
                    answer = rng.choice(ANSWER)
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
            url = f"redis://127.0.0.1:{port}/0"
            store = RedisStore(url, timeout=0.05, raw=number % 2 == 1)
            try:
                fault = await use(store)
            finally:
                await store.close()
            assert not fault, f"store {number}: {fault}"
        server.close()
