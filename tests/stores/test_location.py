"""`Store.location`: the same for stores with the same entries, and without credentials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from kvwrap import (
    LMDBStore,
    MemcachedStore,
    MemoryStore,
    PostgreSQLStore,
    RedisStore,
    SQLiteStore,
    Store,
)


def test_a_file_has_one_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    same = [SQLiteStore("a.db"), SQLiteStore(tmp_path / "a.db", timeout=1.0)]
    same.append(SQLiteStore.from_url(f"sqlite:///{tmp_path}/a.db"))
    assert len({store.location for store in same}) == 1
    others = [SQLiteStore("b.db"), SQLiteStore("a.db", table="t"), SQLiteStore(":memory:")]
    assert len({store.location for store in (same[0], *others)}) == 4


def test_a_folder_has_one_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    same = [LMDBStore("a"), LMDBStore(tmp_path / "a", timeout=1.0)]
    same.append(LMDBStore.from_url(f"lmdb://{tmp_path}/a?synchronous=off"))
    assert len({store.location for store in same}) == 1
    assert LMDBStore("b").location != LMDBStore("a").location


def test_a_server_has_one_location() -> None:
    client = redis.asyncio.Redis(host="h", port=7000, db=2, password="secret")
    same: list[Callable[[], Store]] = [
        lambda: RedisStore("redis://user:secret@h:7000/2"),
        lambda: RedisStore(host="h", port=7000, db=2, timeout=None),
        lambda: RedisStore("redis://h:7000", db=2, max_connections=3),
        lambda: RedisStore(client=client),
    ]
    (location,) = {make().location for make in same}
    assert "secret" not in location
    assert "user" not in location
    others = [
        RedisStore("redis://h:7000/1"),
        RedisStore("redis://h:7001/2"),
        RedisStore("redis://g:7000/2"),
        RedisStore("redis://h:7000/2", namespace="other"),
        RedisStore("redis://h:7000/2", raw=True),
    ]
    assert len({location, *(store.location for store in others)}) == 6


def test_servers_of_memcached_have_one_location() -> None:
    store = MemcachedStore("memcached://me:secret@a,b:1", namespace="n")
    assert store.location == MemcachedStore.from_url("memcached://a,b:1?namespace=n").location
    assert store.location != MemcachedStore("memcached://a,b:1").location


async def test_a_table_has_one_location() -> None:
    pool = asyncpg.create_pool("postgresql://user:secret@h/d", min_size=0)
    split = asyncpg.create_pool(host="h", user="user", database="d", min_size=0)
    same = [
        PostgreSQLStore("postgresql://user:secret@h/d"),
        PostgreSQLStore("postgresql://h:5432/d", timeout=None, notify=True),
        PostgreSQLStore.from_url("postgresql://h/d?table=kvwrap&max_connections=3"),
        PostgreSQLStore(client=pool),
        PostgreSQLStore(client=split),
    ]
    (location,) = {store.location for store in same}
    assert "secret" not in location
    assert "user" not in location
    others = [
        PostgreSQLStore("postgresql://h/e"),
        PostgreSQLStore("postgresql://h:5433/d"),
        PostgreSQLStore("postgresql://g,h/d"),
        PostgreSQLStore("postgresql://h/d", table="other"),
    ]
    assert len({location, *(store.location for store in others)}) == 5


def test_memory_has_no_address() -> None:
    assert MemoryStore().location == "MemoryStore"
