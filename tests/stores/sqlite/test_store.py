"""What is SQLiteStore's own: durability, many processes, names, failures of the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.stores.sqlite.table import after
from kvwrap.testing import ManualClock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "entries.db"


# -- durability and processes ------------------------------------------------------------


async def test_entries_outlive_the_store(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", {"x": 1}, collection="c", ttl=1000)
    async with SQLiteStore(file) as store:
        value, left = await store.ttl("a", collection="c")
    assert value == {"x": 1}
    assert left == pytest.approx(1000, abs=60)


async def test_a_commit_is_synced_to_the_disk(file: Path) -> None:
    async with SQLiteStore(file) as store:
        for worker in (store._writer, store._reader):
            connection = worker.connection
            assert connection is not None
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


COUNTING = """
import asyncio, sys
from kvwrap.stores.sqlite import SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1], timeout=60) as store:
        for _ in range(int(sys.argv[2])):
            await store.increment("count", collection="c")

asyncio.run(main())
"""


def _run(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_processes_that_start_at_once_share_a_counter_exactly(file: Path) -> None:
    # The file does not exist yet: all four make it, its table and its index.
    processes = [_run(COUNTING, file, 100) for _ in range(4)]
    for process in processes:
        _, words = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, words.decode()
    async with SQLiteStore(file) as store:
        assert await store.get("count", collection="c") == 400


WRITING = """
import asyncio, sys
from kvwrap.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    for i in range(1_000_000):
        await store.put_many([f"{i}/{j}" for j in range(5)], [i] * 5)
        print(i, flush=True)

asyncio.run(main())
"""


async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_batch(
    file: Path,
) -> None:
    for _ in range(3):
        process = _run(WRITING, file)
        assert process.stdout is not None
        last = -1
        for line in iter(process.stdout.readline, b""):
            last = int(line)
            if last >= 20:
                os.kill(process.pid, signal.SIGKILL)
                break
        rest, _ = process.communicate(timeout=20)
        acknowledged = max([last, *map(int, rest.split())])
        async with SQLiteStore(file) as store:
            for i in range(acknowledged + 2):
                batch = await store.get_many([f"{i}/{j}" for j in range(5)])
                assert batch in ([i] * 5, [None] * 5)
                assert batch == [i] * 5 or i > acknowledged
            assert await store.destroy() is True
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_cancelled_batch_is_whole_or_nothing_and_later_calls_work(file: Path) -> None:
    keys = [f"k{i}" for i in range(2000)]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, [0] * len(keys))
        for attempt in range(1, 8):
            task = asyncio.create_task(store.put_many(keys, [attempt] * len(keys)))
            await asyncio.sleep(attempt * 0.002)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await store.put("other", attempt)
            assert len(set(await store.get_many(keys))) == 1
            assert await store.get("other") == attempt


async def test_readers_do_not_wait_for_a_writer(file: Path) -> None:
    async with SQLiteStore(file, timeout=30) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.put("a", 2))
            assert await store.get("a") == 1
            assert not writing.done()
            other.execute("ROLLBACK")
        await writing
        assert await store.get("a") == 2


# -- names and enumeration ---------------------------------------------------------------


async def test_no_name_is_taken_for_another(file: Path) -> None:
    names = ["a", "A", "a ", "ä", "a\0", "a\0b", "a%", "a_", "'", '"', "𐀀", "\uffff", "%s", ":x"]
    async with SQLiteStore(file) as store:
        for collection in (None, *names):
            await store.put_many(
                names, [[collection, name] for name in names], collection=collection
            )
        for collection in (None, *names):
            found = await store.get_many(names, collection=collection)
            assert found == [[collection, name] for name in names]
            assert await store.keys(collection) == sorted(names)
        assert await store.collections() == sorted(names)
        assert await store.destroy_collection("a") is True
        assert await store.keys("A") == sorted(names)
        assert await store.keys() == sorted(names)


async def test_scan_pages_through_many_keys_in_the_order_of_code_points(file: Path) -> None:
    keys = [f"{i:05}" for i in range(1700)] + ["x\ud7ff", "x\ue000", "x\U0010ffff", "y"]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, keys)
        assert await store.keys() == sorted(keys)
        assert [k async for k in store.scan(prefix="x")] == ["x\ud7ff", "x\ue000", "x\U0010ffff"]
        assert [k async for k in store.scan(prefix="x\ud7ff")] == ["x\ud7ff"]
        assert [k async for k in store.scan(start="00010", end="00013")] == keys[10:13]
        assert [k async for k in store.scan(prefix="0001", start="00018", end="1")] == keys[18:20]
        assert [k async for k in store.scan(prefix="9", end="5")] == []
        # What is deleted or put behind the cursor meanwhile changes nothing ahead of it.
        seen = []
        async for key in store.scan(start="00000", end="01700"):
            seen.append(key)
            if key == "00001":
                await store.delete_many(["00000", "00001"])
                await store.put("00000a", 1)
        assert seen == keys[:1700]


@given(st.lists(st.characters(codec="utf-8"), min_size=1, max_size=3), st.text(max_size=4))
def test_nothing_lies_between_a_prefix_and_its_end(prefix: list[str], other: str) -> None:
    start = "".join(prefix)
    end = after(start)
    inside = other >= start and (end is None or other < end)
    assert inside == other.startswith(start)


async def test_big_batches_go_beyond_the_limit_of_variables(file: Path) -> None:
    keys = [f"k{i}" for i in range(5000)]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, list(range(5000)))
        assert await store.get_many([*keys, "k7", "none"]) == [*range(5000), 7, None]
        assert await store.delete_many(keys) == 5000


# -- expiry ------------------------------------------------------------------------------


def _rows(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        count: int = connection.execute("SELECT count(*) FROM kvwrap").fetchone()[0]
        return count


async def test_cull_frees_what_has_expired_and_nothing_else(file: Path, clock: ManualClock) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put_many([f"k{i}" for i in range(2500)], [0] * 2500, ttl=10)
        await store.put("later", 1, ttl=20)
        await store.put("never", 1)
        clock.advance(10)
        assert await store.keys() == ["later", "never"]
        assert _rows(file) == 2502
        await store.cull()
        assert _rows(file) == 2


async def test_writing_frees_room_little_by_little(file: Path, clock: ManualClock) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put_many(["a", "b", "c"], [0] * 3, ttl=1)
        clock.advance(1)
        await store.put("d", 1)
        assert _rows(file) == 2
        await store.put("e", 1)
        assert _rows(file) == 2


async def test_an_expired_entry_is_absent_for_every_conditional_write(
    file: Path, clock: ManualClock
) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put("a", 1, ttl=5)
        held = await store.get_versioned("a")
        assert held is not None
        assert await store.put_if_absent("a", 2) is False
        clock.advance(5)
        assert await store.compare_and_put("a", 3, held.version) is False
        assert await store.expire("a", 10) is False
        assert await store.delete("a") is False
        await store.put("a", 1, ttl=5)
        clock.advance(5)
        assert await store.put_if_absent("a", 2) is True
        assert await store.get("a") == 2


async def test_versions_use_all_64_bits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SQLiteStore(file) as store:
        for version in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
            monkeypatch.setattr("kvwrap.core.basic._new_version", lambda bits, v=version: v)
            await store.put("a", 1)
            held = await store.get_versioned("a")
            assert held is not None
            assert held.version == version
            assert await store.compare_and_put("a", 1, (version + 1) % 2**64) is False
            assert await store.compare_and_put("a", 1, version) is True


# -- failures ----------------------------------------------------------------------------


async def test_a_locked_file_gives_a_timeout(file: Path) -> None:
    async with SQLiteStore(file, timeout=0.05) as store:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreTimeout) as caught:
                await store.put("a", 1)
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            other.execute("ROLLBACK")
        await store.put("a", 2)
        assert await store.get("a") == 2


async def test_a_full_disk_leaves_what_was_there(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        connection = store._writer.connection
        assert connection is not None
        await store._writer.run(connection.execute, "PRAGMA max_page_count = 8")
        with pytest.raises(StoreFull):
            await store.put_many(["a", "b"], ["x" * 50_000] * 2)
        assert await store.get_many(["a", "b"]) == [1, None]
        await store._writer.run(connection.execute, "PRAGMA max_page_count = 100000")
        await store.put("b", "x" * 50_000)


async def test_a_value_that_sqlite_cannot_hold_is_refused_before_anything_is_written(
    file: Path,
) -> None:
    async with SQLiteStore(file) as store:
        connection = store._writer.connection
        assert connection is not None
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        with pytest.raises(ValueTooLarge) as caught:
            await store.put_many(["a", "b"], ["x", "y" * 10_000], collection="c")
        assert (caught.value.key, caught.value.collection) == ("b", "c")
        assert await store.get("a", collection="c") is None
        await store.put("a", "y" * 9_500)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 30, b"\0" * 4096])
async def test_a_file_that_is_no_database(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    store = SQLiteStore(file)
    with pytest.raises(StoreUnavailable) as caught:
        await store.put("a", 1)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    file.unlink()
    await store.put("a", 1)  # the store itself is none the worse
    await store.close()


async def test_a_missing_folder_and_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no folder"):
        await SQLiteStore(tmp_path / "missing" / "x.db").check()
    with pytest.raises(StoreUnavailable):
        await SQLiteStore(tmp_path).check()


async def test_a_table_of_somebody_else_is_refused(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE kvwrap (id INTEGER)")
    with pytest.raises(ConfigurationError, match="table="):
        await SQLiteStore(file).get("a")
    async with SQLiteStore(file, table="mine") as store:
        await store.put("a", 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE kvwrap SET entry = substr(entry, 1, length(entry) - 1)",
        "UPDATE kvwrap SET entry = x''",
        "UPDATE kvwrap SET entry = 'text'",
        "UPDATE kvwrap SET entry = entry || x'00'",
        "UPDATE kvwrap SET entry = (SELECT entry FROM kvwrap WHERE key = 'b') WHERE key = 'a'",
        "UPDATE kvwrap SET collection = 'c' WHERE key = 'a'",
    ],
)
async def test_altered_rows_are_corrupt_and_not_values(file: Path, change: str) -> None:
    async with SQLiteStore(file) as store:
        await store.put_many(["a", "b"], [1, 2])
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute(change)
        with pytest.raises(CorruptEntry) as caught:
            await store.get("a", collection="c" if "collection" in change else None)
        assert caught.value.key == "a"


async def test_two_tables_of_a_file_are_two_stores(file: Path) -> None:
    async with SQLiteStore(file, table="one") as one, SQLiteStore(file, table="two") as two:
        await one.put("a", 1)
        await two.put("a", 2)
        assert await one.destroy() is True
        assert await one.destroy() is False
        assert await two.get("a") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_use_in_a_forked_child_is_refused_and_does_not_hang(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                coroutine = store.get("a")
                coroutine.send(None)
            except StoreUnavailable as error:
                code = 0 if "fork" in str(error) else 2
            except BaseException:
                code = 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get("a") == 1


# -- opening, closing, describing ---------------------------------------------------------


async def test_in_memory_it_lasts_as_long_as_it_is_open() -> None:
    store = SQLiteStore(":memory:")
    assert not store.capabilities & {Capability.PERSISTENT, Capability.SHARED}
    async with store:
        await store.put("a", 1)
        assert await store.increment("a") == 2
        assert await store.keys() == ["a"]
    async with store:
        assert await store.get("a") is None


async def test_closing_ends_its_threads_and_leaves_one_file(file: Path) -> None:
    store = SQLiteStore(file)
    await store.put("a", 1)

    def threads() -> list[str]:
        return [t.name for t in threading.enumerate() if file.name in t.name]

    assert threads()
    await store.close()
    for _ in range(200):
        if not threads():
            break
        await asyncio.sleep(0.01)
    assert threads() == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(StoreUnavailable):
        await store.get("a")


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": ""},
        {"path": "a\0b"},
        {"path": 5},
        {"path": "x", "table": "no table"},
        {"path": "x", "table": "sqlite_master"},
        {"path": "x", "table": 5},
        {"path": "x", "timeout": -1},
        {"path": "x", "timeout": float("nan")},
        {"path": "x", "timeout": None},
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteStore(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_urls() -> None:
    assert SQLiteStore.from_url("sqlite:///a/b%20c.db?timeout=2&table=t").arguments == {
        "path": "a/b c.db",
        "timeout": 2.0,
        "table": "t",
    }
    assert SQLiteStore.from_url("sqlite:////var/x.db").arguments == {"path": "/var/x.db"}
    assert SQLiteStore.from_url("sqlite://").arguments == {"path": ":memory:"}
    for url in (
        "sqlite://host/x.db",
        "sqlite:///x?timeot=1",
        "sqlite:///x?timeout=soon",
        "redis://x",
        "sqlite:///x?timeout=1&timeout=2",
    ):
        with pytest.raises(KvwrapError):
            SQLiteStore.from_url(url)
    with pytest.raises(ConfigurationError, match="did you mean 'timeout'"):
        SQLiteStore.from_url("sqlite:///x?timeot=1")
