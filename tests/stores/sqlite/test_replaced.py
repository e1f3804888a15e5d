"""SQLiteStore: a file that is removed or replaced while it is open."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from kvwrap import SQLiteStore, StoreUnavailable


@pytest.mark.parametrize("suffixes", [["", "-wal", "-shm"], [""], ["-wal"]])
async def test_writes_to_a_removed_file_are_not_acknowledged(
    file: Path, suffixes: list[str]
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        for suffix in suffixes:
            Path(f"{file}{suffix}").unlink()
        for call in (
            store.put("b", 2),
            store.put_many(["c", "d"], [1, 2]),
            store.delete("a"),
            store.get("a"),
            store.check(),
        ):
            with pytest.raises(StoreUnavailable, match=r"removed or replaced.*open it again"):
                await call
    async with SQLiteStore(file) as store:
        await store.put("b", 3)
        assert await store.get("b") == 3


async def test_the_log_of_a_file_that_took_its_place_is_left_alone(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        file.rename(f"{file}-old")
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink()
        async with SQLiteStore(file) as other:
            await other.put("a", 2)
            with pytest.raises(StoreUnavailable, match="replaced"):
                await store.put("a", 3)
            with pytest.raises(StoreUnavailable, match="replaced"):
                await store.get("a")
            await store.close()
            await other.put("b", 2)
            assert Path(f"{file}-wal").exists()
            with contextlib.closing(sqlite3.connect(file)) as connection:
                rows = connection.execute("SELECT key FROM kvwrap ORDER BY key").fetchall()
            assert rows == [("a",), ("b",)]


async def test_a_file_that_comes_back_can_be_used_again(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        file.rename(f"{file}-away")
        with pytest.raises(StoreUnavailable):
            await store.get("a")
        Path(f"{file}-away").rename(file)
        await store.put("b", 2)
        assert await store.get_many(["a", "b"]) == [1, 2]
