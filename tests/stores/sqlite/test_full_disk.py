"""SQLiteStore: a full disk can be emptied through the store."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from kvwrap import SQLiteStore, StoreFull
from kvwrap.stores.sqlite.file import RESERVE
from tests.disks import SIZE, filled


async def fill(store: SQLiteStore, size: int) -> None:
    """Put values of this size until that fails."""
    for number in range(SIZE):
        await store.put(f"k{number}", "x" * size)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("size", [1000, 20_000, 400_000])
async def test_a_full_disk_is_emptied(disk: Path, size: int, others: bool) -> None:
    async with SQLiteStore(disk / "entries.db") as store:
        with pytest.raises(StoreFull, match="delete entries"):
            await fill(store, size)
        assert await store.count() > 5
        with filled(disk) if others else contextlib.nullcontext():
            with pytest.raises(StoreFull):
                await store.put("more", "x" * size)
            assert await store.get("k0") == "x" * size
            assert await store.delete("k0") is True
            assert await store.delete_many(["k1", "k2", "missing"]) == 2
            assert await store.delete_where(collection=None, prefix="k3") > 0
            await store.cull()
            assert await store.destroy() is True
            assert await store.keys() == []
        await store.put("again", "x" * size)
    async with SQLiteStore(disk / "entries.db") as store:
        assert await store.keys() == ["again"]


class Disk:
    """What `os.statvfs` returns for a disk with this many free bytes."""

    f_frsize = 1

    def __init__(self, free: int) -> None:
        self.f_bavail = free


async def test_space_is_left_for_removals(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SQLiteStore(file) as store:
        keys = [f"k{number}" for number in range(20)]
        await store.put_many(keys, ["x" * 100_000] * 20)
        monkeypatch.setattr(os, "statvfs", lambda path: Disk(RESERVE - 1))
        with pytest.raises(StoreFull):
            await store.put("a", 1)
        assert await store.expire("k0", 100) is True
        assert await store.delete("k0") is True
        with pytest.raises(StoreFull):  # one entry leaves too little
            await store.put("a", 1)
        assert await store.delete_many(keys) == 19
        await store.put("a", 1)  # in the place of those that were removed
        monkeypatch.setattr(os, "statvfs", lambda path: Disk(0))
        assert await store.get("a") == 1
        monkeypatch.setattr(os, "statvfs", lambda path: Disk(2**40))
        await store.put("b", 1)


async def test_a_log_that_cannot_be_copied_is_used_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        await store.put_many(["a", "b"], ["x" * 5000] * 2)
        monkeypatch.setattr(os, "statvfs", lambda path: Disk(RESERVE // 2))

        def deny(action: int, name: str | None, *others: object) -> int:
            is_copying = action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint"
            return sqlite3.SQLITE_DENY if is_copying else sqlite3.SQLITE_OK

        connections[0].set_authorizer(deny)
        assert await store.delete("a") is True
        with pytest.raises(StoreFull):
            await store.put("a", 1)
        connections[0].set_authorizer(None)


@pytest.mark.parametrize("is_known_to_no_system", [False, True])
async def test_a_disk_whose_space_is_unknown_is_used(
    file: Path, monkeypatch: pytest.MonkeyPatch, is_known_to_no_system: bool
) -> None:
    def fail(path: object) -> None:
        raise OSError

    if is_known_to_no_system:
        monkeypatch.delattr(os, "statvfs")
    else:
        monkeypatch.setattr(os, "statvfs", fail)
    async with SQLiteStore(file) as store:
        await store.put("a", 1)


async def test_what_is_removed_needs_no_pages_when_the_file_is_full(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        keys = [f"k{number}" for number in range(50)]
        await store.put_many(keys, ["x" * 5000] * 50)
        writer = connections[0]
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFull):
            await store.put("more", "x" * 50_000)
        assert await store.delete_many(keys[:30]) == 30
        await store.put("more", "x" * 50_000)
        assert writer.execute("PRAGMA secure_delete").fetchone() == (1,)
