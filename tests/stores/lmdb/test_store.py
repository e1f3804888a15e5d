"""LMDBStore: arguments, URLs, sharing within a process, threads, and group commit."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import lmdb
import pytest

from kvwrap import Capability, ConfigurationError, KvwrapError, LMDBStore, StoreUnavailable, sync
from kvwrap.stores.lmdb.environment import Environment
from kvwrap.stores.lmdb.table import Table
from tests.stores.at_once import read_without_a_pause, recorded_threads


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"folder": ""},
        {"folder": 5},
        {"folder": b"x"},
        {"folder": "a\0b"},
        {"folder": "x", "max_bytes": 1000},
        {"folder": "x", "synchronous": "most"},
        {"folder": "x", "timeout": 0},
        {"folder": "x", "client": object()},
        {"client": object()},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        LMDBStore(**arguments)


def test_urls() -> None:
    url = "lmdb:///var/a%20b?max_bytes=8000000&synchronous=normal&timeout=2&threaded_reads=true"
    assert LMDBStore.from_url(url).arguments == {
        "folder": "/var/a b",
        "max_bytes": 8_000_000,
        "synchronous": "normal",
        "timeout": 2.0,
        "threaded_reads": True,
    }
    assert LMDBStore.from_url("lmdb:///x?read_only=on").arguments == {
        "folder": "/x",
        "read_only": True,
    }
    for wrong in ("lmdb://host/x", "lmdb://", "lmdb:///", "lmdb:///x?sync=1", "lmdb:///x#1"):
        with pytest.raises(KvwrapError):
            LMDBStore.from_url(wrong)


async def test_a_relative_path_is_that_of_the_folder_where_the_store_was_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    store = LMDBStore("app")
    monkeypatch.chdir(tmp_path / "two")
    await store.put("a", 1)
    await store.close()
    assert (tmp_path / "one" / "app" / "data.mdb").exists()
    assert list((tmp_path / "two").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_new_files_are_for_their_user_alone(folder: Path) -> None:
    async with LMDBStore(folder) as store:
        await store.put("k", 1)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
        assert modes == {folder.name: 0o700, "data.mdb": 0o600, "lock.mdb": 0o600}


def test_capabilities_of_a_store_that_is_read_only() -> None:
    assert LMDBStore("x").capabilities - LMDBStore("x", read_only=True).capabilities == {
        Capability.COMPARE_AND_PUT,
        Capability.CULL,
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
    }


async def test_entries_outlive_the_store_and_the_threads_do_not(folder: Path) -> None:
    for synchronous in ("full", "normal", "off"):
        async with LMDBStore(folder, synchronous=synchronous) as store:  # type: ignore[arg-type]  # a text here
            assert await store.get("a") == (None if synchronous == "full" else 1)
            await store.put_many(["a", "b"], [1, 2])
            await store.keys()
    async with asyncio.timeout(30):
        while any("entries" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


async def test_stores_of_one_process_share_an_environment(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    async with LMDBStore(folder) as one, LMDBStore(link) as two:
        assert one.location == two.location
        await asyncio.gather(*(store.increment("n") for store in (one, two) for _ in range(20)))
        assert await one.get("n") == 40
        with pytest.raises(ConfigurationError, match="same options"):
            await LMDBStore(folder, synchronous="off").get("n")
        await one.close()
        assert await two.get("n") == 40
    async with LMDBStore(folder, synchronous="off") as store:
        assert await store.get("n") == 40


def test_threads_with_event_loops_share_an_environment(folder: Path) -> None:
    def count() -> None:
        with sync(LMDBStore(folder)) as store:
            for _ in range(25):
                store.increment("n")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sync(LMDBStore(folder)) as store:
        assert store.get("n") == 100


def test_a_file_that_another_thread_extends_is_not_taken_for_a_shorter_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat
    extending: list[threading.Thread] = []

    def stat_and_extend(path: Path, **options: bool) -> os.stat_result:
        """Extend the file between the answer about it and the return."""
        status = stat(path, **options)
        if path.suffix == ".mdb" and extending:
            thread = extending.pop()
            thread.start()
            thread.join(60)
        return status

    with sync(LMDBStore(folder)) as one, sync(LMDBStore(folder)) as other:
        one.put("a", 1)
        other.put("b", 2)
        monkeypatch.setattr(Path, "stat", stat_and_extend)
        extending.append(threading.Thread(target=other.put, args=("b", "x" * 5_000_000)))
        assert one.get("a") == 1
        assert not extending
        assert len(other.get("b")) == 5_000_000


def test_one_event_loop_after_another(folder: Path) -> None:
    store = LMDBStore(folder)
    for number in range(1, 4):
        assert asyncio.run(store.increment("n")) == number
    asyncio.run(store.close())


async def test_a_ready_environment_is_used_and_never_closed(folder: Path) -> None:
    with lmdb.open(str(folder), max_dbs=2, map_size=8 << 20) as environment:
        async with LMDBStore(client=environment, synchronous="off") as store:
            assert str(folder) in store.location
            await store.put("a", 1)
            # The owner's own transaction is not disturbed when the map is full.
            with environment.begin() as transaction:
                with pytest.raises(KvwrapError):
                    await store.put("b", "x" * (20 << 20))
                assert transaction.stat()["entries"] == 2
            async with LMDBStore(client=environment, synchronous="off") as other:
                assert await other.get("a") == 1
        with environment.begin() as transaction:
            assert transaction.stat()["entries"] == 2
        async with LMDBStore(client=environment) as store:
            assert await store.get("a") == 1
    with lmdb.open(str(folder), max_dbs=0) as environment:
        with pytest.raises(ConfigurationError, match="max_dbs=2"):
            await LMDBStore(client=environment).get("a")
        # LMDB must not open a folder twice in one process.
        with pytest.raises(StoreUnavailable, match="nothing else in this process"):
            await LMDBStore(folder.parent / "entries").get("a")


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an element for each room check, with the transaction's number."""
    numbers: list[int] = []
    ensure_room = Environment.ensure_room

    def recording(self: Environment, transaction: Any) -> None:
        numbers.append(transaction.id())
        ensure_room(self, transaction)

    monkeypatch.setattr(Environment, "ensure_room", recording)
    return numbers


async def test_writes_that_wait_share_a_transaction(folder: Path, commits: list[int]) -> None:
    async with LMDBStore(folder) as store:
        await asyncio.gather(*(store.put(f"k{number}", number) for number in range(64)))
        assert len(commits) == 64
        assert len(set(commits)) < 32
        assert await store.get_many([f"k{number}" for number in range(64)]) == [*range(64)]


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Return a list that gets the thread of each read of keys."""
    return recorded_threads(monkeypatch, Table, "read")


async def test_small_reads_are_made_at_once_and_others_on_a_thread(
    folder: Path, readers: list[threading.Thread]
) -> None:
    here = threading.current_thread()
    keys = [f"k{number}" for number in range(17)]
    async with LMDBStore(folder) as store:
        await store.put_many(keys, ["x" * 5000] * 17)
        await store.put("large", "x" * 70_000)
        for wanted, is_here in ((keys[:1], True), (keys[:10], True), (keys, False)):
            assert await store.get_many(wanted) == ["x" * 5000] * len(wanted)
            assert (readers.pop() is here) == is_here
        assert await store.get_many(keys[:16]) == ["x" * 5000] * 16  # too many bytes
        assert readers.pop() is not here
        assert await store.get("large") == "x" * 70_000
        assert readers.pop() is not here
        many = [f"m{number}" for number in range(129)]
        await store.put_many(many, [1] * 129)
        for count, is_here in ((128, True), (129, False)):
            assert await store.get_many(many[:count]) == [1] * count
            assert (readers.pop() is here) == is_here
    async with LMDBStore(folder, threaded_reads=True) as store:
        assert await store.get("k0") == "x" * 5000
        assert readers.pop() is not here
    assert readers == []


async def test_reads_without_a_pause_let_other_tasks_run(folder: Path) -> None:
    async with LMDBStore(folder) as store:
        await read_without_a_pause(store)


async def test_a_cancelled_write_is_carried_out_before_its_call_ends_or_never(folder: Path) -> None:
    async with LMDBStore(folder) as store:
        keys = [f"k{number}" for number in range(2000)]
        await store.put_many(keys, [0] * len(keys))
        for attempt in range(1, 20):
            writing = asyncio.create_task(store.put_many(keys, [attempt] * len(keys)))
            for _ in range(attempt * 3):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            first = set(await store.get_many(keys))
            assert len(first) == 1
            await store.put("other", attempt)
            assert set(await store.get_many(keys)) == first


async def test_a_cancelled_opening_leaves_nothing_open(folder: Path) -> None:
    for turns in range(6):
        opening = asyncio.create_task(LMDBStore(folder, synchronous="off").get("a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
    async with asyncio.timeout(30):
        while True:
            try:  # other options, so the environment must have been closed
                async with LMDBStore(folder) as store:
                    await store.put("a", 1)
                break
            except ConfigurationError:
                await asyncio.sleep(0.001)
