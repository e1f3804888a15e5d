"""SQLiteStore: that something in the file has changed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvwrap import Capability, Change, SQLiteStore, StoreUnavailable, UnsupportedOperation
from kvwrap.core.changes import LOST, Scope

pytestmark = pytest.mark.asyncio


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def test_what_others_commit_is_told_and_reading_is_not(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    async with SQLiteStore(path) as store, SQLiteStore(path, table="other") as other:
        told: list[Change] = []
        subscription = await store.subscribe(Scope(bound=0.3), told.append)
        heard_at = subscription.heard_at
        await store.get("a")
        await other.get("a")
        await until(lambda: subscription.heard_at > heard_at)
        assert told == []
        foreign = sqlite3.connect(path)
        foreign.execute("CREATE TABLE theirs (number)")
        foreign.commit()
        foreign.close()
        for change in (store.put("a", 1), other.put("a", 1), store.delete("a"), None):
            await until(lambda: told)
            heard_at = store.clock.monotonic()
            await until(lambda heard_at=heard_at: subscription.heard_at > heard_at)
            assert set(told) == {LOST}
            told.clear()
            if change is not None:
                await change
        await subscription.close()


async def test_threads_and_connections_end_with_the_last_watch(tmp_path: Path) -> None:
    def watching() -> list[str]:
        return [each.name for each in threading.enumerate() if "watching" in each.name]

    path = tmp_path / "entries.db"
    async with SQLiteStore(path) as one, SQLiteStore(path) as two:
        before = len(watching())
        async with one.watch(), two.watch(), one.watch():
            assert len(watching()) == before + 1
        await until(lambda: len(watching()) <= before)
        async with one.watch() as changes:
            await two.put("a", 1)
            async with asyncio.timeout(60):
                assert await anext(changes) == LOST


async def test_a_file_that_was_replaced_is_lost_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    async with SQLiteStore(path) as store:
        told: list[Change] = []
        subscription = await store.subscribe(Scope(), told.append)
        for each in tmp_path.glob("entries.db*"):
            each.rename(each.with_name("old" + each.name))
        await until(lambda: told)
        assert told == [LOST]
        async with SQLiteStore(path) as new:
            await until(lambda: len(told) > 1)
            told.clear()
            await new.put("a", 1)
            await until(lambda: told)
        await subscription.close()


async def test_memory_cannot_be_watched() -> None:
    async with SQLiteStore(":memory:") as store:
        assert Capability.WATCH not in store.capabilities
        with pytest.raises(UnsupportedOperation, match="MemoryStore"):
            await anext(store.watch())


async def test_a_store_opened_for_reading_sees_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    async with SQLiteStore(path) as writer:
        await writer.put("a", 1)
        async with SQLiteStore(path, read_only=True) as reader, reader.watch() as changes:
            await writer.put("a", 2)
            async with asyncio.timeout(60):
                assert await anext(changes) == LOST
            assert await reader.get("a") == 2
    with pytest.raises(StoreUnavailable):
        await anext(reader.watch())
