"""SQLiteStore: failures of the file, and files and tables of other programs."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.stores.sqlite.table import Table
from kvwrap.testing import ManualClock


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


async def test_a_process_that_stands_still_in_the_middle_of_a_lock_gives_a_timeout(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
        raise error

    async with SQLiteStore(file, timeout=0) as store:
        await store.put("a", 1)
        for name in ("read", "read_small"):
            monkeypatch.setattr(Table, name, refused)
        with pytest.raises(StoreTimeout, match="held it longer"):
            await store.get("a")


async def test_a_full_disk_leaves_existing_entries_unchanged(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        writer = connections[0]
        writer.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StoreFull):
            await store.put_many(["a", "b"], ["x" * 50_000] * 2)
        assert await store.get_many(["a", "b"]) == [1, None]
        writer.execute("PRAGMA max_page_count = 100000")
        await store.put("b", "x" * 50_000)


async def test_a_value_that_sqlite_cannot_hold_is_refused_before_anything_is_written(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        connections[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        with pytest.raises(ValueTooLarge) as caught:
            await store.put_many(["a", "b"], ["x", "y" * 10_000], collection="c")
        assert (caught.value.key, caught.value.collection) == ("b", "c")
        assert await store.get("a", collection="c") is None
        await store.put("a", "y" * 9_500)


@pytest.mark.parametrize("collection", [None, "😀" * 100], ids=["default", "long collection"])
@pytest.mark.parametrize("key", ["k", "😀" * 100], ids=["short key", "long key"])
async def test_a_value_near_the_limit_of_sqlite_is_stored_or_refused(
    file: Path, connections: list[sqlite3.Connection], key: str, collection: str | None
) -> None:
    async with SQLiteStore(file) as store:
        connections[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        refused = []
        for size in range(8_700, 10_100, 20):
            try:
                await store.put(key, "x" * size, collection=collection)
            except ValueTooLarge:
                refused.append(size)
            else:
                assert await store.get(key, collection=collection) == "x" * size
        assert 5 < len(refused) < 70


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 30, b"\0" * 4096])
async def test_a_file_that_is_not_a_database(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    store = SQLiteStore(file)
    with pytest.raises(StoreUnavailable, match=r"entries.db' must be an SQLite database") as caught:
        await store.put("a", 1)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    file.unlink()
    await store.put("a", 1)  # the store itself is still usable
    await store.close()


async def test_a_missing_folder_and_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no folder"):
        await SQLiteStore(tmp_path / "missing" / "x.db").check()
    with pytest.raises(StoreUnavailable, match="not a folder"):
        await SQLiteStore(tmp_path).check()


async def test_a_table_of_another_program_is_refused(file: Path) -> None:
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


async def test_names_that_are_not_text_are_not_listed(file: Path) -> None:
    async with SQLiteStore(file) as store:
        for collection in (None, "c", "d"):
            await store.put_many(["a", "b"], [1, 2], collection=collection)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            for values in ("'', x''", "'', x'61'", "'c', x'61'", "x'63', 'a'"):
                other.execute(
                    "INSERT INTO kvwrap (collection, key, version, entry) "
                    f"VALUES ({values}, 1, x'00')"
                )
        for collection in (None, "c"):
            assert await store.keys(collection) == ["a", "b"]
            assert [key async for key in store.scan(collection=collection, end="b")] == ["a"]
        assert await store.collections() == ["c", "d"]


@pytest.mark.parametrize("name", ["collection", "key", "version", "entry"])
async def test_no_program_can_write_a_row_without_a_value_that_rows_need(
    file: Path, name: str
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file)) as other:
            with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
                other.execute(f"UPDATE kvwrap SET {name} = NULL")
            other.execute("UPDATE kvwrap SET expires_at = NULL")


@pytest.mark.parametrize(
    "change", ["DROP TABLE kvwrap", "ALTER TABLE kvwrap RENAME COLUMN entry TO other"]
)
async def test_a_table_that_is_changed_while_the_store_is_open_is_told(
    file: Path, change: str
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute(change)
        for call in (store.get("a"), store.put("a", 2), store.get_many(["a", "b"])):
            with pytest.raises(StoreUnavailable, match=r"the table of .* was removed or changed"):
                await call


async def test_two_tables_of_a_file_are_two_stores(file: Path) -> None:
    async with SQLiteStore(file, table="one") as one, SQLiteStore(file, table="two") as two:
        await one.put("a", 1)
        await two.put("a", 2)
        assert await one.destroy() is True
        assert await one.destroy() is False
        assert await two.get("a") == 2


@pytest.mark.parametrize("missing", ["collection", "key", "expires_at", "version", "entry"])
async def test_a_table_of_others_without_a_column_is_refused(file: Path, missing: str) -> None:
    columns = {"collection", "key", "expires_at", "version", "entry"} - {missing}
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute(f"CREATE TABLE kvwrap ({', '.join(sorted(columns))})")
    for read_only in (False, True):
        with pytest.raises(ConfigurationError, match="one that kvwrap created"):
            async with SQLiteStore(file, read_only=read_only) as store:
                await store.get("k")


@pytest.mark.parametrize(
    "schema",
    [
        "TABLE kvwrap (collection, key, expires_at, version, entry AS ({}))",
        "TABLE kvwrap (collection, key, expires_at, version, entry AS ({}) STORED)",
        "VIEW kvwrap AS SELECT '' collection, 'k' key, 0 expires_at, 1 version, {} AS entry",
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_table_that_computes_its_rows_is_refused(
    file: Path, schema: str, read_only: bool
) -> None:
    """A file of a few KB would take any amount of memory."""
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute(f"CREATE {schema.format('zeroblob(900000000)')}")
    with pytest.raises(ConfigurationError, match="one that kvwrap created"):
        await SQLiteStore(file, read_only=read_only).get("k")


@pytest.mark.parametrize("expiry", ["'text'", "x'ff'", "9e99", "'9999999999999999999'"])
@pytest.mark.parametrize("call", ["delete", "pop", "remove"])
async def test_an_expiry_that_is_no_integer_stops_no_removal(
    file: Path, call: str, expiry: str
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        found = await store.get_versioned("a")
        assert found is not None
        with contextlib.closing(sqlite3.connect(file)) as other, other:
            other.execute(f"UPDATE kvwrap SET expires_at = {expiry}")
        if call == "remove":
            await store.compare_and_delete("a", found.version)
        else:
            await getattr(store, call)("a")
        assert await store.get("a") is None


async def test_names_that_are_not_text_are_in_no_listing(file: Path, clock: ManualClock) -> None:
    """No key has such a name, so nothing else of kvwrap meets them either."""
    keys = [f"k{number:04}" for number in range(1200)]
    async with SQLiteStore(file, clock=clock) as store:
        await store.put_many(keys, [0] * len(keys))
        await store.put_many(keys[:3], [0] * 3, collection="c")
        await store.put("k0100", 0, collection="gone", ttl=1)
        await store.put("k0100a", 0, ttl=1)
        clock.advance(1)
        with contextlib.closing(sqlite3.connect(file)) as other, other:
            for number in range(0, 1200, 100):
                name = f"k{number:04}".encode() + b"\xff"
                other.execute(
                    "INSERT INTO kvwrap VALUES ('', CAST(? AS TEXT), NULL, 1, x'00')", (name,)
                )
            other.execute("INSERT INTO kvwrap VALUES (CAST(x'64ff' AS TEXT), 'k', NULL, 1, x'00')")
            other.execute("INSERT INTO kvwrap VALUES ('', x'6b30ff', NULL, 1, x'00')")
        assert await store.keys() == keys
        assert [key async for key in store.scan(prefix="k00")] == keys[:100]
        assert [key async for key in store.scan(start="k0100", end="k0102")] == keys[100:102]
        assert await store.collections() == ["c"]
        assert [key async for key, _ in store.items()] == keys
        assert await store.destroy() is True
        assert await store.collections() == []


async def test_text_in_the_schema_that_is_damaged_is_an_error_of_kvwrap(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("k", 1)
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = file.read_bytes().replace(b"CREATE TABLE kvwrap", b"CREATE TABLE kv\xe3rap")
    file.write_bytes(data.replace(b"kvwrap_expires_at ON", b"kv\xe3rap_expires_at ON"))
    store = SQLiteStore(file)
    with pytest.raises(StoreUnavailable):
        await store.get("k")
    await store.close()


async def test_pages_that_were_overwritten_give_typed_errors_and_no_other_values(
    file: Path,
) -> None:
    keys = [f"k{number:04}" for number in range(1000)]
    value = "v" * 300
    async with SQLiteStore(file) as store:
        await store.put_many(keys, [value] * len(keys))
    with file.open("r+b") as data:
        data.seek(4096 * 20)
        data.write(b"\xff" * 4096 * 30)
    failed = 0
    async with SQLiteStore(file) as store:
        for key in keys[::3]:
            try:
                assert await store.get(key) == value
            except (StoreUnavailable, CorruptEntry):
                failed += 1
        assert 0 < failed < len(keys[::3])
        with pytest.raises((StoreUnavailable, CorruptEntry)):
            await store.get_many(keys)
        with pytest.raises(StoreUnavailable, match=r"entries\.db"):
            await store.put_many(keys, [value] * len(keys))


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_table_whose_name_differs_in_case_only_is_refused(
    file: Path, read_only: bool
) -> None:
    async with SQLiteStore(file, table="Sessions") as store:
        await store.put("a", 1)
        with pytest.raises(ConfigurationError, match=r"must be 'Sessions'.*got 'sessions'"):
            await SQLiteStore(file, table="sessions", read_only=read_only).get("a")
        async with SQLiteStore(file, table="Sessions", read_only=read_only) as again:
            assert await again.get("a") == 1
