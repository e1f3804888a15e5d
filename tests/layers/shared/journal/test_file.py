"""The file of a journal: commits, damage, a full disk, a killed process, and its lock."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Store,
    StoreFull,
)
from kvwrap.core.entry import Entry
from kvwrap.layers.shared.journal.change import Change
from kvwrap.layers.shared.journal.file import JournalFile
from kvwrap.layers.write_behind import WriteBehind
from tests.layers.faulty import FaultyStore


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Connections to SQLite in the order in which they are opened."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def record(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", record)
    return opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def store(
    backend: FaultyStore, path: Path, connections: list[sqlite3.Connection]
) -> AsyncIterator[Store]:
    async with WriteBehind(path, max_wait=0, shutdown_timeout=60).over(backend) as opened:
        yield opened
        backend.gate.set()


async def test_a_commit_is_on_the_disk_before_it_returns(
    store: Store, connections: list[sqlite3.Connection]
) -> None:
    await store.put("k", 1)
    (connection,) = connections
    # Only a power failure could show the difference, not a kill: 2 is FULL.
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
    # A journal that another stack has open is refused at once.
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)


async def test_the_log_is_kept_short_and_the_schema_of_a_file_is_not_trusted(
    store: Store, path: Path, connections: list[sqlite3.Connection]
) -> None:
    await store.put("k", 1)
    (connection,) = connections
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    await store.put("k", "x" * 12_000_000)
    await store.put("k", "y")
    assert Path(f"{path}-wal").stat().st_size < 5_000_000


async def test_a_log_that_something_removed_does_not_stop_the_journal(
    path: Path, backend: FaultyStore
) -> None:
    backend.down = True
    async with WriteBehind(path, shutdown_timeout=0).over(backend) as store:
        await store.put("a", 1)
        Path(f"{path}-wal").unlink()
        await store.put("b", 2)
    backend.down = False
    async with WriteBehind(path).over(backend) as store:
        await store.find(WriteBehind).flush()
    assert await backend.keys() == ["a", "b"]


async def test_only_one_stack_can_open_a_journal(path: Path, store: Store) -> None:
    await store.put("k", 1)
    with pytest.raises(ConfigurationError, match="has it open"):
        await WriteBehind(path).over(MemoryStore()).open()


async def test_only_one_process_can_open_a_journal(path: Path) -> None:
    code = (
        "import sys;"
        "from kvwrap.layers.shared.journal.file import JournalFile;"
        "file = JournalFile(sys.argv[1], 'owner');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConfigurationError, match="another process"):
            await WriteBehind(path).over(MemoryStore()).open()
        other.kill()
    async with WriteBehind(path).over(MemoryStore()) as store:
        await store.put("k", 1)


async def test_other_files_are_not_taken_for_journals(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("not a database, and long enough to be looked at" * 50)
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    reasons = {
        text: "it is not a journal",
        database: "another program's database",
        tmp_path / "no" / "folder": "SQLite cannot open it",
        tmp_path: "SQLite cannot open it",
    }
    for path, reason in reasons.items():
        with pytest.raises(ConfigurationError, match=f"cannot be used: .*{reason}"):
            await WriteBehind(path).over(MemoryStore()).open()
    assert text.read_text().startswith("not a database")


async def test_a_damaged_entry_is_set_aside_and_the_others_are_sent(
    path: Path, backend: FaultyStore
) -> None:
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(["good", "bad"], [1, 2])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE pending SET entry = x'AB6B01' WHERE key = 'bad'")
    db.close()
    backend.down = False
    async with WriteBehind(path).over(backend) as store:
        assert [refused.reason for refused in await store.find(WriteBehind).refused()] == [
            "CorruptEntry"
        ]
    assert await backend.keys() == ["good"]


async def test_writes_at_the_same_time_share_a_commit(
    store: Store, backend: FaultyStore, connections: list[sqlite3.Connection]
) -> None:
    (connection,) = connections
    statements: list[str] = []
    backend.gate.clear()  # nothing is sent, so every commit is one of accepted writes
    connection.set_trace_callback(statements.append)
    await asyncio.gather(*(store.put(f"k{n}", n) for n in range(50)))
    connection.set_trace_callback(None)
    assert 1 <= statements.count("COMMIT") <= 3
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert len(backend) == 50


async def test_a_journal_that_fails_accepts_nothing(
    store: Store, backend: FaultyStore, connections: list[sqlite3.Connection]
) -> None:
    (connection,) = connections
    connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreFull, match="SQLITE_FULL") as caught:
        await store.put("k", "x" * 100_000)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert await store.get("k") is None
    connection.execute("PRAGMA max_page_count=1000000")
    await store.put("k", 1)
    await store.find(WriteBehind).flush()
    assert await backend.get("k") == 1


async def test_cancelling_a_write_leaves_the_journal_usable(
    store: Store, backend: FaultyStore
) -> None:
    writes = [asyncio.create_task(store.put(f"k{n}", n)) for n in range(20)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.find(WriteBehind).flush()
    # Those cancelled may have been accepted or not; the others must have been.
    assert set(await backend.keys()) >= {f"k{n}" for n in range(1, 20, 2)}
    flushing = asyncio.create_task(store.find(WriteBehind).flush())
    flushing.cancel()
    await store.put("last", 1)
    await store.find(WriteBehind).flush()
    assert await backend.get("last") == 1


KILLED = """
import asyncio, sys
from pathlib import Path
from kvwrap import MemoryStore
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.write_behind import WriteBehind

class Down(MemoryStore):
    async def write(self, *arguments):
        raise StoreUnavailable("down")

async def main():
    async with WriteBehind(sys.argv[1]).over(Down()) as store:
        async def write(worker):
            for number in range(100_000):
                await store.put(f"{worker}-{number % 50}", number)
                print(worker, number, flush=True)
        await asyncio.gather(*(write(worker) for worker in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 400])
async def test_every_acknowledged_write_arrives_after_a_kill(path: Path, after: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(after)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
    newest: dict[str, int] = {}
    for line in acknowledged:
        if line.endswith("\n"):
            worker, number = map(int, line.split())
            newest[f"{worker}-{number % 50}"] = number
    assert newest
    async with MemoryStore() as backend:
        async with WriteBehind(path).over(backend) as store:
            await store.find(WriteBehind).flush()
        for key, number in newest.items():
            # One more may have been committed without being printed.
            assert await backend.get(key) in (number, number + 50)


def test_setting_a_change_aside_leaves_older_ones_pending(path: Path) -> None:
    changes = [Change(number, None, f"k{number}", None) for number in (1, 2, 3)]
    with closing(JournalFile(str(path), "owner")) as file:
        file.accept(changes)
        file.refuse(2, "StoreUnavailable")
    with closing(JournalFile(str(path), "owner")) as file:
        assert [change.key for change in file.changes] == ["k1", "k3"]
        assert [change.key for change in file.refused()] == ["k2"]


def test_the_format_of_a_file_is_that_of_earlier_versions(path: Path) -> None:
    entry = Entry(b"1", b"", 0.0, None, 7)
    file = JournalFile(str(path), "owner")
    file.accept([Change(1, None, "k", entry), Change(2, "c", "l", None)])
    file.refuse(1, "ValueTooLarge")
    file.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x6B767770,)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        removal = b"\x00" + zlib.crc32(b"c\x00l").to_bytes(4, "big")
        (pending,) = db.execute("SELECT number, collection, key, entry FROM pending").fetchall()
        assert pending == (2, "c", "l", removal)
        (refused,) = db.execute("SELECT number, collection, key, entry, reason FROM refused")
        assert refused == (1, "", "k", entry.to_bytes(None, "k"), "ValueTooLarge")
