"""Folders of diskcache, made by its own package, and read without it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import diskcache
import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    MemoryStore,
    ReadOnlyViolation,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.integrations.diskcache import DiskcacheFolder

LARGE = "ä" * 40_000
VALUES: dict[str, Any] = {
    "text": "text",
    "bytes": b"\0\xff",
    "number": 5,
    "float": 2.5,
    "large text": LARGE,
    "large bytes": LARGE.encode(),
    "@at": "begins with an at",
}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


def make(folder: Path, **options: Any) -> diskcache.Cache:
    with diskcache.Cache(str(folder), **options) as cache:
        for key, value in VALUES.items():
            cache[key] = value
    return cache


def change(folder: Path, statement: str, *arguments: Any) -> None:
    with sqlite3.connect(folder / "cache.db") as connection:
        connection.execute(statement, arguments)
    connection.close()


async def contents(store: kvwrap.Store) -> dict[str, Any]:
    return {key: value async for key, value in store.items()}


async def test_raw_values_are_read(tmp_path: Path) -> None:
    make(tmp_path)
    async with DiskcacheFolder(tmp_path) as folder:
        assert await contents(folder) == VALUES
        assert await folder.keys() == sorted(VALUES)
        assert await folder.keys(limit=1) == [min(VALUES)]
        assert [key async for key in folder.scan(prefix="large")] == ["large bytes", "large text"]
        assert await folder.get_many(["text", "missing"]) == ["text", None]
        assert await folder.get("text", collection="another") is None
        assert await folder.count_unreadable() == 0


async def test_json_values_are_read(tmp_path: Path) -> None:
    values = {"a": {"x": [1, None, True]}, "b": [], "large": [LARGE], "none": None}
    with diskcache.Cache(str(tmp_path), disk=diskcache.JSONDisk, disk_compress_level=6) as cache:
        for key, value in values.items():
            cache[key] = value
        cache[5] = "left"
        cache[["a", 1]] = "left"
    async with DiskcacheFolder(tmp_path, json=True) as folder:
        assert await contents(folder) == values
        assert await folder.count_unreadable() == 2
    async with DiskcacheFolder(tmp_path) as wrong:
        assert await wrong.keys() == []
        assert await wrong.count_unreadable() == 6


async def test_a_fanout_cache_and_an_index_are_read(tmp_path: Path) -> None:
    fanout = diskcache.FanoutCache(str(tmp_path / "fanout"), shards=3)
    for number in range(50):
        fanout[f"key-{number}"] = number
    fanout.close()
    async with DiskcacheFolder(tmp_path / "fanout") as folder:
        assert await contents(folder) == {f"key-{number}": number for number in range(50)}
    index = diskcache.Index(str(tmp_path / "index"), {"a": "b"})
    index.cache.close()
    async with DiskcacheFolder(tmp_path / "index") as folder:
        assert await contents(folder) == {"a": "b"}


async def test_each_entry_keeps_its_expiry(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path)) as cache:
        cache.set("ends", "x", expire=1000)
        cache.set("never", "x")
        cache.set("over", "x", expire=-1)
        cache.set("over too", {"a": "pickle"}, expire=-1)
    async with DiskcacheFolder(tmp_path) as folder:
        assert await folder.keys() == ["ends", "never"]
        assert (await folder.ttl("ends"))[1] == pytest.approx(1000, abs=100)
        assert await folder.ttl("never") == ("x", None)
        assert await folder.get("over") is None
        assert await folder.count_unreadable() == 0
        change(tmp_path, "UPDATE Cache SET expire_time = 1 WHERE key = 'ends'")
        assert await folder.get("ends") is None


# -- pickles ----------------------------------------------------------------------------------


async def test_pickles_are_counted_and_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "loaded"
    make(tmp_path / "cache")
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        cache["small"] = Bomb(mark)
        cache["large"] = Bomb(mark), b"x" * 100_000  # in a file
        cache[Bomb(mark)] = "text"  # as a key
        cache["dict"] = {"a": 1}
        cache[b"bytes"] = "text"
        cache[7] = "text"
    async with DiskcacheFolder(tmp_path / "cache") as folder, MemoryStore() as target:
        assert await folder.count_unreadable() == 6
        report = await kvwrap.copy(folder, stack().serialize("msgpack").over(target))
        assert (report.seen, report.copied, report.left) == (len(VALUES), len(VALUES), 6)
        assert "6 left in the source" in str(report)
        assert await folder.get_many(["small", "large", "dict"]) == [None, None, None]
    assert not mark.exists()
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        cache.get("small")
    assert mark.exists()  # by its own package it is


def test_neither_pickle_nor_the_package_is_needed(tmp_path: Path) -> None:
    make(tmp_path)
    program = """
import asyncio, pickle, sys
def refuse(*args, **options): raise SystemExit("unpickled")
pickle.load = pickle.loads = pickle.Unpickler = refuse
from kvwrap.integrations.diskcache import DiskcacheFolder
async def main():
    async with DiskcacheFolder(sys.argv[1]) as folder:
        print(len(await folder.keys()), await folder.get("text"))
asyncio.run(main())
assert not any(name.partition(".")[0] == "diskcache" for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{len(VALUES)} text\n"


# -- as a source --------------------------------------------------------------------------------


async def test_a_copy_is_verified_and_resumable_with_progress(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        for number in range(250):
            cache.set(f"key-{number:03}", number, expire=None if number % 2 else 1000)
    seen: list[int] = []

    def stop(progress: Any) -> None:
        seen.append(progress.report.seen)
        if len(seen) == 1:
            raise KeyboardInterrupt

    target = MemoryStore()
    state = tmp_path / "state"
    async with DiskcacheFolder(tmp_path / "cache") as source:
        with pytest.raises(KeyboardInterrupt):
            await kvwrap.copy(source, target, progress=stop, resume=state)
    async with DiskcacheFolder(tmp_path / "cache") as source:
        report = await kvwrap.copy(source, target, progress=stop, resume=state)
    assert seen == [100, 200, 250]
    assert (report.seen, report.copied, report.same, report.failed) == (250, 250, 0, 0)
    assert await target.count() == 250
    assert (await target.ttl("key-000"))[1] == pytest.approx(1000, abs=100)


async def test_it_is_only_read(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.val")}
    async with DiskcacheFolder(tmp_path) as folder:
        for call in (
            lambda: folder.put("text", 1),
            lambda: folder.delete("text"),
            lambda: folder.delete_many(["text"]),
        ):
            with pytest.raises(ReadOnlyViolation, match="only read: copy its entries"):
                await call()
        await folder.cull()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.val")} == before
    with diskcache.Cache(str(tmp_path)) as cache:
        assert {key: cache[key] for key in cache} == VALUES


async def test_a_cache_in_use_is_read(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path)) as cache:
        cache["kept"] = "old"
        cache["gone"] = LARGE
        async with DiskcacheFolder(tmp_path) as folder:
            cache["kept"] = "new"
            del cache["gone"]
            cache["later"] = "x"
            assert await folder.get_many(["kept", "gone", "later"]) == ["new", None, None]
        async with folder:
            assert await folder.keys() == ["kept", "later"]


async def test_one_object_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    make(tmp_path)
    folder = DiskcacheFolder(tmp_path)
    assert await asyncio.to_thread(lambda: asyncio.run(folder.get("text"))) == "text"
    assert await folder.get("text") == "text"
    await folder.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await folder.get("text")


async def test_a_cancelled_call_leaves_it_usable(tmp_path: Path) -> None:
    make(tmp_path)
    async with DiskcacheFolder(tmp_path) as folder:
        call = asyncio.create_task(folder.get("large text"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await folder.get("large text") == LARGE


# -- hostile and damaged folders -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["../secret", "../cache/../secret", "/etc/passwd", "", "a//b", "link", "sub/file", "."]
)
async def test_a_file_outside_of_the_folder_is_never_opened(path: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("hunter2")
    folder = tmp_path / "cache"
    make(folder)
    (folder / "link").symlink_to(secret / "file")
    (folder / "sub").symlink_to(secret)
    change(folder, "UPDATE Cache SET filename = ? WHERE key = 'large text'", path)
    async with DiskcacheFolder(folder) as store:
        with pytest.raises(CorruptEntry) as raised:
            await store.get("large text")
        assert (raised.value.store, raised.value.key) == ("DiskcacheFolder", "large text")
        report = await kvwrap.copy(store, stack().serialize("msgpack").over(MemoryStore()))
    assert (report.failed, report.copied) == (1, len(VALUES) - 1)


async def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    make(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    change(tmp_path, "UPDATE Cache SET filename = 'pipe' WHERE key = 'large text'")
    async with DiskcacheFolder(tmp_path) as store:
        with pytest.raises(CorruptEntry, match="that of something else"):
            await store.get("large text")
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / "cache.db")
    with pytest.raises(ConfigurationError):
        await DiskcacheFolder(tmp_path / "other").keys()


async def test_sizes_are_bounded(tmp_path: Path) -> None:
    make(tmp_path / "raw")
    change(tmp_path / "raw", "UPDATE Cache SET value = zeroblob(2000) WHERE key = 'bytes'")
    async with DiskcacheFolder(tmp_path / "raw", max_size=1000) as store:
        for key in ("large text", "large bytes", "bytes"):
            with pytest.raises(ValueTooLarge, match="at most 1000 bytes"):
                await store.get(key)
        assert await store.get("text") == "text"
    with diskcache.Cache(str(tmp_path / "json"), disk=diskcache.JSONDisk) as cache:
        cache["bomb"] = "0" * 1_000_000
        cache["k" * 1_000_000] = "a long key"
    async with DiskcacheFolder(tmp_path / "json", json=True, max_size=100_000) as store:
        assert await store.keys() == ["bomb"]
        with pytest.raises(CorruptEntry, match="at most 100000 bytes"):
            await store.get("bomb")


DAMAGES = {
    "text that is no UTF-8": "value = CAST(x'ff' AS TEXT)",
    "no value": "value = NULL",
    "a number over all": "value = 9e999",
    "a file that is missing": "mode = 2, filename = 'missing'",
    "a file name that is bytes": "mode = 2, filename = x'ff00'",
    "a file name that is a number": "mode = 3, filename = 5",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_row_is_one_failure(damage: str, tmp_path: Path) -> None:
    make(tmp_path)
    change(tmp_path, f"UPDATE Cache SET {damage} WHERE key = 'text'")
    async with DiskcacheFolder(tmp_path) as store:
        report = await kvwrap.copy(store, stack().serialize("msgpack").over(MemoryStore()))
    assert (report.failed, report.copied) == (1, len(VALUES) - 1)


async def test_rows_that_are_no_items_are_left(tmp_path: Path) -> None:
    make(tmp_path)
    for key, raw, mode in (
        ("kvwrap.reserved", 1, 1),
        ("", 1, 1),
        (None, 1, 1),
        ("k", 5, 1),
        ("l", 1, 99),
        ("m", 1, "x"),
    ):
        change(
            tmp_path,
            "INSERT INTO Cache (key, raw, mode, value) VALUES (?, ?, ?, 1)",
            key,
            raw,
            mode,
        )
    change(tmp_path, "INSERT INTO Cache (key, raw, mode) VALUES (CAST(x'ff' AS TEXT), 1, 1)")
    change(tmp_path, "UPDATE Cache SET expire_time = 'never' WHERE key = 'text'")
    async with DiskcacheFolder(tmp_path) as store:
        assert await store.keys() == sorted(VALUES.keys() - {"text"})
        assert await store.count_unreadable() == 7


async def test_json_that_is_damaged_is_one_failure(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path), disk=diskcache.JSONDisk) as cache:
        for key in ("a", "b", "c", "d"):
            cache[key] = key
    rows = sqlite3.connect(tmp_path / "cache.db")
    values = [b"no zlib", zlib.compress(b"{"), zlib.compress(b"NaN")]
    for row, value in enumerate(values, 1):
        rows.execute("UPDATE Cache SET value = ? WHERE rowid = ?", (value, row))
    rows.commit()
    rows.close()
    async with DiskcacheFolder(tmp_path, json=True) as store:
        report = await kvwrap.copy(store, MemoryStore())
    assert (report.failed, report.copied) == (3, 1)


SCHEMAS = {
    "a view": "CREATE VIEW Cache AS SELECT 1 AS key",
    "no table": "CREATE TABLE Other (key)",
    "other columns": "CREATE TABLE Cache (key, value)",
    "a column that is computed": (
        "CREATE TABLE Cache (key, raw, expire_time, mode, filename, value AS (zeroblob(9)))"
    ),
    "a virtual table": (
        "CREATE VIRTUAL TABLE Cache USING fts5(key, raw, expire_time, mode, filename, value)"
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
async def test_another_schema_is_refused(schema: str, tmp_path: Path) -> None:
    change(tmp_path, schema)
    with pytest.raises(StoreUnavailable, match="the folder cannot be read: its"):
        await DiskcacheFolder(tmp_path).keys()


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    folder = DiskcacheFolder(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="the folder cannot be read: DatabaseError"):
            await folder.keys()


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
async def test_what_is_no_folder_of_diskcache_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="must be the folder of a diskcache"):
        await DiskcacheFolder(tmp_path / name).keys()


@pytest.mark.parametrize(
    ("arguments", "options"), [((5,), {}), (("x",), {"json": 1}), (("x",), {"max_size": 0})]
)
def test_invalid_arguments_are_refused(arguments: tuple[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        DiskcacheFolder(*arguments, **options)
