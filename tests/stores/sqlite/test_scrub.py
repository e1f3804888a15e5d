"""What was overwritten or deleted does not stay in the file, nor in its log."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kvwrap import Keyring, SQLiteStore, StoreTimeout, rewrite, stack

SECRET = b"S3CRET-4000"
COUNT = 300


def found(folder: Path) -> int:
    """Return how often the secret is in the files of a folder."""
    return sum(path.read_bytes().count(SECRET) for path in folder.iterdir())


@pytest.fixture(params=["as built", "upstream"])
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite as it is, and with the default of upstream, which does not erase."""
    connect = sqlite3.connect

    def upstream(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    if request.param == "upstream":
        monkeypatch.setattr(sqlite3, "connect", upstream)


async def fill(store: SQLiteStore) -> None:
    keys = [f"k{n}" for n in range(COUNT)]
    values = [{"card": f"{SECRET.decode()}-{n}", "pad": "x" * (n % 97)} for n in range(COUNT)]
    await store.put_many(keys, values)
    await store.put("large", SECRET.decode() + "y" * 20_000)


@pytest.mark.usefixtures("built")
@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_no_plaintext_is_in_the_files_after_a_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as store:
        await fill(store)
    assert found(tmp_path) > COUNT
    sealing = stack().encrypt(Keyring.generate(), accept_plaintext=True)
    async with sealing.over(SQLiteStore(path)) as sealed, SQLiteStore(path):
        report = await rewrite(sealed)
        assert (report.rewritten, report.unencrypted) == (COUNT + 1, 0)
        assert found(tmp_path) == 0
    assert found(tmp_path) == 0


@pytest.mark.usefixtures("built")
async def test_what_is_deleted_is_erased(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        await fill(store)
        await store.delete_many([f"k{n}" for n in range(100)])
        await store.destroy()
        await store.scrub()
        assert found(tmp_path) == 0


async def test_a_rewrite_that_changes_nothing_leaves_the_log(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with stack().encrypt(Keyring.generate()).over(SQLiteStore(path)) as store:
        await store.put("k", 1)
        size = (tmp_path / "store.db-wal").stat().st_size
        await rewrite(store)
        await rewrite(store, dry_run=True)
        assert (tmp_path / "store.db-wal").stat().st_size == size > 0


async def test_scrubbing_waits_for_readers_up_to_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path, timeout=0.2) as store:
        await fill(store)
        reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM kvwrap").fetchone()
        await store.put("k0", 1)
        with pytest.raises(StoreTimeout):
            await store.scrub()
    async with SQLiteStore(path, timeout=5.0) as store:
        scrubbing = asyncio.create_task(store.scrub())
        await asyncio.sleep(0.05)
        reader.execute("COMMIT")
        await scrubbing
        reader.close()
        assert (tmp_path / "store.db-wal").stat().st_size == 0


async def test_a_database_in_memory_has_nothing_to_scrub() -> None:
    async with SQLiteStore(":memory:") as store:
        await store.put("k", 1)
        await store.scrub()
        assert await store.get("k") == 1
