"""A journal on a full disk: nothing acknowledged is lost, nothing is sent for ever."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Store,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.shared.journal import journal as journal_module
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


class Disk:
    """Refuses deletions from journals, and reports little free space, when a test says so."""

    def __init__(self) -> None:
        self.connections: list[sqlite3.Connection] = []
        self.free = 10**9

    def set_full(self, full: bool) -> None:
        """Refuse deletions and new changes from now on, or allow them again."""
        self.free = 0 if full else 10**9

        def decide(action: int, *_: object) -> int:
            return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_DELETE else sqlite3.SQLITE_OK

        for connection in self.connections:
            with suppress(sqlite3.ProgrammingError):  # it was closed
                connection.set_authorizer(decide if full else None)


class Usage(NamedTuple):
    """The result of `shutil.disk_usage`."""

    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    connect = sqlite3.connect

    def record(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        disk.connections.append(connect(*args, **kwargs))
        return disk.connections[-1]

    monkeypatch.setattr(sqlite3, "connect", record)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, disk.free))
    return disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def store(backend: FaultyStore, path: Path, disk: Disk) -> AsyncIterator[Store]:
    async with WriteBehind(path, max_wait=0, retry_after=0.01).over(backend) as opened:
        yield opened
        disk.set_full(False)


async def wait_until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.001)


async def test_what_was_sent_is_sent_once_and_deleted_when_there_is_room(
    store: Store,
    backend: FaultyStore,
    path: Path,
    disk: Disk,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend.gate.clear()
    await store.put_many(numbered_keys(1200), [0] * 1200)
    disk.set_full(True)
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert store.find(WriteBehind).pending == 0
    assert len(backend) == 1200
    await asyncio.sleep(0.05)
    assert len(backend.written()) == 1200, "sent again"
    assert caplog.text.count("the journal cannot delete them") == 1
    assert not store.idle
    disk.set_full(False)
    await clock.run(1)
    await wait_until(lambda: store.idle)
    await store.close()
    async with WriteBehind(path).over(MemoryStore()) as again:
        assert again.find(WriteBehind).pending == 0


async def test_a_disk_without_room_for_a_journal_is_named_on_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_without_room(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db = connect(*args, **kwargs)
        db.execute("PRAGMA max_page_count=1")
        return db

    monkeypatch.setattr(sqlite3, "connect", connect_without_room)
    with pytest.raises(ConfigurationError, match=r"disk is full or fails \(SQLITE_FULL\)"):
        await WriteBehind(path).over(MemoryStore()).open()


async def test_a_write_that_an_old_change_could_undo_after_a_restart_is_refused(
    store: Store, backend: FaultyStore, disk: Disk
) -> None:
    backend.gate.clear()
    await store.put("n", 1)
    disk.set_full(True)
    backend.gate.set()
    await store.find(WriteBehind).flush()
    for refused in (store.increment("n"), store.destroy(), store.expire("n", 5)):
        with pytest.raises(StoreUnavailable, match="journal"):
            await refused
    assert await backend.get("n") == 1
    assert await store.increment("other") == 1
    disk.set_full(False)
    assert await store.increment("n") == 2


async def test_after_an_outage_a_direct_write_does_not_overtake_what_the_file_still_has(
    backend: FaultyStore, path: Path, disk: Disk, clock: ManualClock
) -> None:
    def layer() -> Fallback:
        return Fallback(
            MemoryStore, writes="journal", journal=path, failures=1, open_for=0.01, recovery_delay=0
        )

    store = layer().over(backend)
    await store.open()
    backend.down = True
    await store.put("k", "old")
    disk.set_full(True)
    backend.down = False
    await clock.run(1)
    await wait_until(lambda: store.find(Fallback).snapshot().pending == 0)
    with pytest.raises(StoreUnavailable):
        await store.put("k", "new")
    await store.put("other", 1)
    assert await backend.get_many(["k", "other"]) == ["old", 1]
    await store.close()
    disk.set_full(False)
    async with layer().over(backend) as store:
        await store.find(Fallback).flush()
        await store.put("k", "new")
        assert await backend.get("k") == "new"


async def test_the_journal_keeps_room_for_its_own_deletions(
    store: Store, backend: FaultyStore, disk: Disk
) -> None:
    await store.put("a", 1)
    disk.free = 100_000
    with pytest.raises(StoreFull, match="free; it has 100000"):
        await store.put("b", 2)
    disk.free = 2_000_000
    await store.put("c", 3)
    with pytest.raises(StoreFull):
        await store.put("d", "x" * 1_000_000)
    await store.find(WriteBehind).flush()
    assert await backend.keys() == ["a", "c"]


async def test_of_writes_that_share_a_commit_only_those_without_room_fail(
    store: Store, backend: FaultyStore, disk: Disk
) -> None:
    backend.gate.clear()
    await store.put("first", 1)
    disk.free = 2_000_000
    outcomes = await asyncio.gather(
        store.put("a", 1),
        store.put("b", "x" * 1_000_000),
        store.put("c", 3),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreFull, type(None)]
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert await backend.keys() == ["a", "c", "first"]


async def test_a_value_that_no_row_holds_is_too_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LARGEST_VALUE", 1000)
    with pytest.raises(ValueTooLarge, match="1000 bytes"):
        await store.put("k", "x" * 1001)
    await store.put("k", "x")


async def test_a_journal_that_has_filled_its_disk_itself_accepts_again_when_all_was_sent(
    store: Store, backend: FaultyStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1_500_000

    def usage(folder: Path) -> Usage:
        used = sum(file.stat().st_size for file in path.parent.iterdir())
        return Usage(size, used, size - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for _ in range(3):
        backend.gate.clear()
        writes = [store.put(f"k{number}", "x" * 20_000) for number in range(60)]
        outcomes = [await asyncio.gather(write, return_exceptions=True) for write in writes]
        accepted = outcomes.count([None])
        assert 5 < accepted < 60
        assert [type(error) for (error,) in outcomes].count(StoreFull) == 60 - accepted
        backend.gate.set()
        await store.find(WriteBehind).flush()
        assert len(backend) >= accepted
