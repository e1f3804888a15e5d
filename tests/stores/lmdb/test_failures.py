"""LMDBStore: damaged files, folders that disappear, and what other programs have there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from kvwrap import ConfigurationError, CorruptEntry, LMDBStore, ReadOnlyViolation, StoreUnavailable
from kvwrap.stores.lmdb import names

LONG = "k" * 1000


def _change(folder: Path, *changes: tuple[bytes, bytes | None], database: bytes) -> None:
    """Store or delete records as another program does."""
    with lmdb.open(str(folder), max_dbs=2) as environment:
        opened = environment.open_db(database)
        with environment.begin(opened, write=True) as transaction:
            for name, value in changes:
                if value is None:
                    transaction.delete(name)
                else:
                    transaction.put(name, value)


ENTRIES = b"kvwrap.entries.1"
EXPIRIES = b"kvwrap.expiries.1"


@pytest.mark.parametrize(
    "content", [b"not an environment, but long enough" * 500, b"\0" * 8192, b"x"]
)
async def test_a_file_that_is_not_an_environment(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "data.mdb").write_bytes(content)
    store = LMDBStore(folder)
    with pytest.raises(StoreUnavailable, match="must be an LMDB environment") as caught:
        await store.put("a", 1)
    assert isinstance(caught.value.__cause__, lmdb.Error)
    (folder / "data.mdb").unlink()
    await store.put("a", 1)  # the store itself is still usable
    await store.close()


async def test_an_empty_file_is_a_new_environment(folder: Path) -> None:
    folder.mkdir()
    (folder / "data.mdb").touch()
    async with LMDBStore(folder) as store:
        await store.put("a", 1)


TRUNCATED = """
import asyncio, os, sys
from kvwrap import LMDBStore, StoreUnavailable

async def main():
    try:
        async with LMDBStore(sys.argv[1], read_only=len(sys.argv) > 2) as store:
            for number in range(2000):
                await store.get(f"k{number}")
            await store.keys()
    except StoreUnavailable as error:
        assert "damaged" in str(error), error
    else:
        raise AssertionError("nothing is wrong")

asyncio.run(main())
"""


@pytest.mark.parametrize("arguments", [(), ("read only",)])
@pytest.mark.parametrize("share", [0.02, 0.5])
async def test_a_truncated_file_ends_no_process(
    folder: Path, share: float, arguments: tuple[str, ...]
) -> None:
    """A page of the map that the file does not have would end it by a signal."""
    async with LMDBStore(folder) as store:
        await store.put_many([f"k{number}" for number in range(2000)], ["x" * 1000] * 2000)
    size = (folder / "data.mdb").stat().st_size
    os.truncate(folder / "data.mdb", max(8192, int((size - (1 << 20)) * share)))
    result = subprocess.run(
        [sys.executable, "-c", TRUNCATED, folder, *arguments],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()


async def test_a_file_that_becomes_shorter_while_it_is_open_is_noticed(folder: Path) -> None:
    async with LMDBStore(folder) as store:
        await store.put("a", 1)
        assert await store.get("a") == 1
        os.truncate(folder / "data.mdb", 8192)
        for call in (store.get("a"), store.put("a", 2), store.keys()):
            with pytest.raises(StoreUnavailable, match="shorter"):
                await call


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_folder_that_is_removed_or_exchanged_is_noticed(
    folder: Path, is_replaced: bool
) -> None:
    other = folder.with_name("other")
    async with LMDBStore(other) as store:
        await store.put("a", "other")
    store = LMDBStore(folder)
    await store.put("a", 1)
    if is_replaced:
        folder.rename(folder.with_name("moved"))
        other.rename(folder)
    else:
        shutil.rmtree(folder)
    for call in (store.get("a"), store.put("a", 2), store.keys(), store.check(), store.cull()):
        with pytest.raises(StoreUnavailable, match="must stay in place"):
            await call
    # Another store of this process opens what is there now, even if that one is still open.
    async with LMDBStore(folder) as second:
        assert await second.get("a") == ("other" if is_replaced else None)
        await second.put("b", 1)
    await store.close()
    async with store:
        assert await store.get("b") == 1


async def test_a_missing_folder_around_and_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "entries", tmp_path / "file" / "entries"):
        (tmp_path / "file").touch()
        store = LMDBStore(path)
        with pytest.raises(StoreUnavailable, match="there is no folder"):
            await store.put("a", 1)
    with pytest.raises(StoreUnavailable):
        await LMDBStore(tmp_path / "file").get("a")
    for path in (tmp_path / "missing", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(StoreUnavailable):
            await LMDBStore(path, read_only=True).get("a")
    assert list((tmp_path / "empty").iterdir()) in ([], [tmp_path / "empty" / "lock.mdb"])


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_folder_without_permission_to_write(folder: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from kvwrap import LMDBStore, StoreUnavailable\n"
        "async def main():\n"
        "    async with LMDBStore(sys.argv[1]) as store:\n"
        "        await store.put('a', 1)\n"
        "    os.chmod(sys.argv[1], 0o755)\n"
        "    for name in ('data.mdb', 'lock.mdb'):\n"
        "        os.chmod(f'{sys.argv[1]}/{name}', 0o644)\n"
        "    if os.getuid() == 0:\n"
        "        os.setuid(65534)\n"
        "    else:\n"
        "        for name in ('data.mdb', 'lock.mdb', ''):\n"
        "            os.chmod(f'{sys.argv[1]}/{name}', 0o444 if name else 0o555)\n"
        "    for read_only in (False, True):\n"
        "        try:\n"
        "            await LMDBStore(sys.argv[1], read_only=read_only).get('a')\n"
        "        except StoreUnavailable as error:\n"
        "            assert 'read_only=True' in str(error), error\n"
        "        else:\n"
        "            raise AssertionError(read_only)\n"
        "asyncio.run(main())\n"
    )
    folder.parent.chmod(0o755)
    with_parents = [parent for parent in folder.parents if parent.stat().st_uid == os.getuid()]
    result = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, timeout=60, check=False
    )
    assert with_parents
    assert result.returncode == 0, result.stderr.decode()


async def test_an_environment_with_databases_of_another_program_is_shared(folder: Path) -> None:
    with lmdb.open(str(folder), max_dbs=4) as environment:
        theirs = environment.open_db(b"theirs")
        with environment.begin(theirs, write=True) as transaction:
            transaction.put(b"key", b"value")
    async with LMDBStore(folder) as store:
        await store.put("key", 1)
        assert await store.keys() == ["key"]
        assert await store.destroy()
    with lmdb.open(str(folder), max_dbs=4) as environment:
        theirs = environment.open_db(b"theirs")
        with environment.begin(theirs) as transaction:
            assert transaction.get(b"key") == b"value"


async def test_another_kind_of_record_under_the_name_of_a_database(folder: Path) -> None:
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        transaction.put(ENTRIES, b"a value")
    with pytest.raises(ConfigurationError, match="another folder"):
        await LMDBStore(folder).get("key")


async def test_damaged_entries_and_names(folder: Path) -> None:
    async with LMDBStore(folder) as store:
        for collection in (None, "c" * 200):
            await store.put_many(["a", "b", LONG], [1, 2, 3], collection=collection, ttl=1000)
    default, long = names.prefix_of(None), names.prefix_of("c" * 200)
    _change(
        folder,
        (default + b"a", b"short"),
        (default + b"\xff\xfe", b"not a name of kvwrap"),
        (names.name_of(default, LONG), b"\0\0\xff\xff"),
        (names.name_of(long, "a"), b"\0"),
        (names.name_of(long, LONG), b""),
        (b"\x05\xff\xff\xff\xff\xffa", b"not UTF-8"),
        (b"\x64", b"too short"),
        database=ENTRIES,
    )
    _change(folder, (b"\0", b""), (b"\0" * 8 + b"\0a", b""), database=EXPIRIES)
    async with LMDBStore(folder) as store:
        for collection in (None, "c" * 200):
            for key in ("a", LONG):
                with pytest.raises(CorruptEntry) as caught:
                    await store.get(key, collection=collection)
                assert (caught.value.key, caught.value.collection) == (key, collection)
                assert not await store.put_if_absent(key, 5, collection=collection)
                assert not await store.compare_and_put(key, 5, 7, collection=collection)
            assert await store.get("b", collection=collection) == 2
        assert await store.keys() == ["a", "b"]
        assert "b" in await store.keys("c" * 200)
        assert set(await store.collections()) <= {"c" * 200, ""}
        await store.cull()
        await store.put("a", 1)
        await store.put(LONG, 1)
        assert await store.keys() == ["a", "b", LONG]
        assert await store.destroy()
        assert await store.collections() == []


async def test_a_read_only_store_reads_only(folder: Path) -> None:
    async with LMDBStore(folder) as writer:
        await writer.put("a", 1)
        store = LMDBStore(folder, read_only=True)  # shares the environment of this process
        await _check_read_only(store)
        await store.close()
    async with LMDBStore(folder, read_only=True) as store:
        await _check_read_only(store)
        with pytest.raises(ConfigurationError, match="same options"):
            await LMDBStore(folder).put("a", 2)


async def _check_read_only(store: LMDBStore) -> None:
    assert await store.get("a") == 1
    assert await store.keys() == ["a"]
    for call in (store.put("a", 2), store.delete("a"), store.expire("a", 5)):
        with pytest.raises(ReadOnlyViolation):
            await call
