"""A store whose opening fails leaves nothing: no thread, no file and no socket."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvwrap import FileTreeStore, KvwrapError, LMDBStore, SQLiteStore, Store, store_from_url
from tests.opened import DESCRIPTORS, opened_files

if not DESCRIPTORS.is_dir():
    pytest.skip("needs /proc, to see what is open", allow_module_level=True)


def _foreign_table(folder: Path) -> Store:
    with contextlib.closing(sqlite3.connect(folder / "foreign.db")) as connection:
        connection.execute("CREATE TABLE kvwrap (a)")
    return SQLiteStore(folder / "foreign.db", max_entries=3)


def _foreign_file(folder: Path) -> Path:
    file = folder / "foreign"
    file.mkdir()
    (file / "data.mdb").write_bytes(b"another format" * 1000)
    return file


EMBEDDED: dict[str, Callable[[Path], Store]] = {
    "sqlite in no folder": lambda folder: SQLiteStore(folder / "none" / "x.db"),
    "sqlite over another format": lambda folder: SQLiteStore(_foreign_file(folder) / "data.mdb"),
    "sqlite over a folder": SQLiteStore,
    "sqlite over another table": _foreign_table,
    "sqlite to read nothing": lambda folder: SQLiteStore(folder / "x.db", read_only=True),
    "lmdb in no folder": lambda folder: LMDBStore(folder / "none" / "x"),
    "lmdb over another format": lambda folder: LMDBStore(_foreign_file(folder)),
    "lmdb over a file": lambda folder: LMDBStore(_foreign_file(folder) / "data.mdb"),
    "lmdb to read nothing": lambda folder: LMDBStore(folder / "x", read_only=True),
    "file-tree in no folder": lambda folder: FileTreeStore(folder / "none" / "x"),
    "file-tree over a file": lambda folder: FileTreeStore(_foreign_file(folder) / "data.mdb"),
    "file-tree to read nothing": lambda folder: FileTreeStore(folder / "x", read_only=True),
}
# Nothing listens there. MongoDB's driver leaves a socket, whose connection is cancelled, to the
# garbage collector.
SERVERS = [
    "dynamodb://table?region=eu-1&endpoint_url=http://127.0.0.1:1",
    "memcached://127.0.0.1:1",
    "elasticsearch://127.0.0.1:1",
    "nats://127.0.0.1:1",
    "opensearch://127.0.0.1:1,127.0.0.1:2",
    "postgresql://127.0.0.1:1/x",
    "redis://127.0.0.1:1",
    "redis+cluster://127.0.0.1:1",
    "redis+sentinel://127.0.0.1:1/service",
    "valkey://127.0.0.1:1",
]


async def fails_and_leaves_nothing(make: Callable[[], Store]) -> None:
    files, threads = opened_files(), set(threading.enumerate())
    store = make()
    with pytest.raises(KvwrapError):
        await store.get("a")
    with pytest.raises(KvwrapError):
        async with store:
            await store.get("a")

    def own() -> set[threading.Thread]:
        new = set(threading.enumerate()) - threads
        # Those of an event loop look up the names of hosts.
        return {thread for thread in new if not thread.name.startswith("asyncio_")}

    while own():  # a thread ends a moment after its last call
        await asyncio.sleep(0.01)
    while opened_files() - files:  # so does a connection that is being closed
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("make", EMBEDDED.values(), ids=EMBEDDED)
async def test_embedded_stores(make: Callable[[Path], Store], tmp_path: Path) -> None:
    await fails_and_leaves_nothing(lambda: make(tmp_path))


@pytest.mark.parametrize("url", SERVERS)
async def test_stores_of_servers(url: str) -> None:
    await fails_and_leaves_nothing(lambda: store_from_url(url))


async def test_an_opening_that_is_cancelled(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    threads = set(threading.enumerate())
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(SQLiteStore(file, timeout=60).get("a"))
        while set(threading.enumerate()) <= threads:
            await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    while not set(threading.enumerate()) <= threads:
        await asyncio.sleep(0.01)
