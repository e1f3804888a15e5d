"""SQLiteStore: files that can be read and not changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    ReadOnlyViolation,
    SQLiteStore,
    StoreUnavailable,
    stack,
)

CHANGES = {
    Capability.COMPARE_AND_PUT,
    Capability.DESTROY,
    Capability.DESTROY_COLLECTION,
    Capability.CULL,
}


async def test_a_store_may_be_opened_for_reading(file: Path) -> None:
    async with SQLiteStore(file) as writer:
        await writer.put_many(["a", "b"], [1, 2], collection="c")
        reader = SQLiteStore.from_url(f"sqlite:///{file}?read_only=true")
        assert reader.capabilities == SQLiteStore.capabilities - CHANGES
        async with reader:
            assert await reader.get("a", collection="c") == 1
            assert await reader.keys("c") == ["a", "b"]
            assert await reader.count(collection="c") == 2
            await writer.put("a", 3, collection="c")
            assert await reader.get("a", collection="c") == 3
            await reader.check()
            await reader.scrub()
            for call in (
                reader.put("a", 1),
                reader.delete("a"),
                reader.expire("a", 1),
                reader.write(None, ["a"], []),
                reader.drop_all(),
                reader.drop("c"),
                reader.sweep(),
            ):
                with pytest.raises(ReadOnlyViolation, match="permission"):
                    await call
        assert await writer.get("a", collection="c") == 3
    async with SQLiteStore(file, read_only=True) as reader:
        assert await reader.get("a", collection="c") == 3
        async with SQLiteStore(file) as writer:
            await writer.put("a", 4, collection="c")
            assert await reader.get("a", collection="c") == 4


async def test_reading_creates_no_file_and_no_table(file: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await SQLiteStore(file, read_only=True).get("a")
    assert list(file.parent.iterdir()) == []
    sqlite3.connect(file).execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(ConfigurationError, match="missing"):
        await SQLiteStore(file, read_only=True).get("a")


async def test_an_unchanged_file_is_read_without_files_beside_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
    connect = sqlite3.connect

    def refusing(database: str, **options: object) -> sqlite3.Connection:
        if "mode=ro" in database and "immutable" not in database:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(database, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(sqlite3, "connect", refusing)
    async with SQLiteStore(file, read_only=True) as store:
        assert await store.get("a") == 1
        # SQLite does not see that another process changes it.
        async with SQLiteStore(file) as other:
            await other.put("a", 2)
            with pytest.raises(StoreUnavailable, match="open it again"):
                await store.get("a")
    async with SQLiteStore(file) as other:
        await other.put("a", 3)
        with pytest.raises(StoreUnavailable):  # the log has what the file has not
            await SQLiteStore(file, read_only=True).get("a")


OTHER_USER = """
import asyncio, os, sys
from kvwrap import ReadOnlyViolation, SQLiteStore, StoreUnavailable, stack
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""

READING = """
async def main():
    path = sys.argv[1]
    for store in (SQLiteStore(path), stack().read_only().over(SQLiteStore(path))):
        try:
            async with store:
                assert await store.get("a") == {"n": 1}
                assert "compare_and_put" not in store.capabilities, store.capabilities
                await store.put("a", 2)
        except ReadOnlyViolation:
            print("refused")
        except StoreUnavailable as error:
            print(error)
    try:
        await SQLiteStore(path + "-new").put("a", 1)
        print("created")
    except StoreUnavailable as error:
        print(error)

asyncio.run(main())
"""


WRITING = """
async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await store.put("b", 2)
        print(await store.get("a"))

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


def read_as_another(file: Path, code: str = READING) -> list[str]:
    """Use a file as a user without special rights, and return what that prints."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_USER + code, file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize(("rights", "mode"), [(0o444, 0o555), (0o444, 0o777), (0o666, 0o555)])
async def test_a_file_without_permission_to_write(folder: Path, rights: int, mode: int) -> None:
    file = folder / "entries.db"
    async with SQLiteStore(file) as store:
        await store.put("a", {"n": 1})
    file.chmod(rights)
    folder.chmod(mode)
    printed = read_as_another(file)
    assert printed[:2] == ["refused", "refused"]
    assert ("may read and write it" in printed[2]) == (mode == 0o555)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_where_the_log_is_there_already_the_folder_need_not_be_written(folder: Path) -> None:
    file = folder / "entries.db"
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
        for path in folder.iterdir():
            path.chmod(0o666)
        folder.chmod(0o555)
        assert read_as_another(file, WRITING) == ["1"]
        assert await store.get("b") == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_a_file_without_permission_to_read(folder: Path) -> None:
    file = folder / "entries.db"
    async with SQLiteStore(file) as store:
        await store.put("a", {"n": 1})
    for path, mode in ((file, 0o000), (folder, 0o000)):
        path.chmod(mode)
        assert all("may read and write it" in line for line in read_as_another(file))


async def test_reading_works_under_the_layer_too(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
    async with stack().read_only().over(SQLiteStore(file, read_only=True)) as store:
        assert await store.get("a") == 1
