"""FileTreeStore: its files, expiry, listings, opening and closing, URLs."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    FileTreeStore,
    Keyring,
    KvwrapError,
    ReadOnlyViolation,
    StoreUnavailable,
    stack,
    store_from_url,
)
from kvwrap.stores.file_tree import listing
from kvwrap.testing import ManualClock


def files(folder: Path) -> list[str]:
    """Return the files of entries, by their paths in the tree."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != ".kvwrap")


# -- files -------------------------------------------------------------------------------


async def test_a_value_that_no_layer_changed_is_readable(folder: Path, clock: ManualClock) -> None:
    async with FileTreeStore(folder, clock=clock) as store:
        await store.put("ada", {"name": "Ada", "visits": 1}, collection="users", ttl=60)
        versioned = await store.get_versioned("ada", collection="users")
    assert versioned is not None
    head, value, nothing = (folder / "users" / "ada").read_text().split("\n")
    assert value == '{"name":"Ada","visits":1}'
    assert nothing == ""
    assert head.startswith(
        '{"kvwrap":1,"created":"2033-05-18T03:33:20Z",'
        f'"version":"{versioned.version:016x}","codec":"json","expires":"2033-05-18T03:34:20Z",'
    )


async def test_a_long_name_is_in_the_file_in_front_of_the_value(folder: Path) -> None:
    collection, key = "C" * 300, "k" * 300
    async with FileTreeStore(folder) as store:
        await store.put(key, 1, collection=collection)
        (path,) = files(folder)
        text = (folder / path).read_text()
        assert f'"collection":"{collection}","key":"{key}"' in text
        assert await store.keys(collection) == [key]
        assert await store.collections() == [collection]


async def test_layers_make_other_files(folder: Path) -> None:
    async with stack().encrypt(Keyring.generate()).over(FileTreeStore(folder)) as store:
        await store.put("ada", {"secret": "word"})
        data = (folder / "_default" / "ada").read_bytes()
        assert b"word" not in data
        assert await store.get("ada") == {"secret": "word"}


async def test_new_files_are_for_their_user_alone(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("k", 1)
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


# -- expiry ------------------------------------------------------------------------------


async def test_cull_deletes_expired_entries_and_no_others(folder: Path, clock: ManualClock) -> None:
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        for collection in ("a", "b", None, "C" * 300):
            await store.put_many(["x", "y" * 300], [0, 0], ttl=10, collection=collection)
        await store.put("later", 1, ttl=20)
        await store.put("never", 1)
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        clock.advance(10)
        assert await store.keys() == ["later", "never"]
        assert await store.collections() == []
        assert await store.count() == 2
        assert len(files(folder)) == 10
        await store.cull()
        assert files(folder) == ["_default/later", "_default/never"]
        assert sorted(path.name for path in folder.iterdir()) == [".kvwrap", "_default"]
        assert list((folder / ".kvwrap").iterdir()) == []


async def test_each_write_deletes_some_expired_entries(folder: Path, clock: ManualClock) -> None:
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        await store.put_many(["a", "b", "c"], [0] * 3, ttl=1)
        clock.advance(1)
        await store.put("d", 1)
        assert len(files(folder)) == 2
        await store.put("e", 1)
        assert files(folder) == ["_default/d", "_default/e"]


async def test_writes_delete_what_was_found_expired(folder: Path, clock: ManualClock) -> None:
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        await store.put_many(["a", "b", "c"], [0] * 3, ttl=1)
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        clock.advance(1)
        assert await store.get("a") is None
        await store.put("d", 1)
        assert files(folder) == ["_default/b", "_default/c", "_default/d"]
        assert await store.keys() == ["d"]
        await store.put("e", 1)
        assert files(folder) == ["_default/d", "_default/e"]


async def test_an_entry_that_was_renewed_is_not_deleted(folder: Path, clock: ManualClock) -> None:
    async with FileTreeStore(folder, durability="off", clock=clock) as store:
        await store.put("a", 1, ttl=1)
        assert await store.expire("a", 100)
        await store.put("b", 1, ttl=1)
        clock.advance(2)
        await store.put_many(["c", "d"], [1, 1])
        assert await store.get("a") == 1
        assert files(folder) == ["_default/a", "_default/c", "_default/d"]


async def test_an_expiry_later_than_all_dates_is_kept(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("a", 1, ttl=1e12)
        _, left = await store.ttl("a")
        assert left is not None
        assert left > 1e11
        assert '"expires":"9999-12-31' in (folder / "_default" / "a").read_text()


# -- listings ----------------------------------------------------------------------------


async def test_a_listing_longer_than_what_is_kept_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_NAMES", 600)
    keys = [f"{number:04}" for number in range(1300)] + ["é" * 200, "é" * 200 + "a"]
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(keys, keys)
        assert await store.keys() == keys
        assert [key async for key in store.scan(start="0100", end="1250")] == keys[100:1250]
        assert [key async for key in store.scan(prefix="é")] == keys[1300:]
        seen = []
        async for key in store.scan():
            seen.append(key)
            if key == "0001":
                await store.delete_many(["0000", "0001"])
                await store.put("0000a", 1)
        assert seen == keys


async def test_a_page_may_be_requested_again(folder: Path) -> None:
    keys = [f"{number:04}" for number in range(700)]
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(keys, keys)
        every = listing.KeyRange()
        first = await store.list_keys(None, every, None)
        assert list(first.keys) == keys[:500]
        for _ in range(2):
            second = await store.list_keys(None, every, first.cursor)
            assert list(second.keys) == keys[500:]
            assert second.cursor is None


async def test_destroying_leaves_what_is_not_the_stores(folder: Path) -> None:
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(["a", "b"], [1, 2], collection="c")
        await store.put("a", 1, collection="d")
        (folder / "c" / "notes.txt").write_text("mine")
        (folder / "c" / "Readme").write_text("mine")
        (folder / "top.txt").write_text("mine")
        assert await store.destroy_collection("c") is True
        assert await store.destroy_collection("c") is False
        assert await store.destroy() is True
        assert await store.destroy() is False
        assert files(folder) == ["c/Readme", "c/notes.txt", "top.txt"]


# -- opening, closing, describing ---------------------------------------------------------


async def test_closing_ends_the_threads_and_leaves_no_open_file(folder: Path) -> None:
    store = FileTreeStore(folder)
    await store.put("a", 1)
    await store.get("a")

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if folder.name in thread.name]

    def opened() -> list[str]:
        fds = Path("/proc/self/fd")
        if not fds.exists():
            return []
        targets = [os.path.realpath(fd) for fd in fds.iterdir()]
        return [target for target in targets if target.startswith(str(folder))]

    assert threads()
    assert opened() == []
    await store.close()
    async with asyncio.timeout(30):
        while threads():
            await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    async with store:
        assert await store.get("a") == 1


def test_one_loop_after_another_may_use_a_store(folder: Path) -> None:
    store = FileTreeStore(folder)
    for number in range(3):
        assert asyncio.run(store.increment("n")) == number + 1
    asyncio.run(store.close())


@pytest.mark.parametrize(
    "arguments",
    [
        {"folder": ""},
        {"folder": "a\0b"},
        {"folder": 5},
        {"folder": b"x"},
        {"folder": "x", "durability": "some"},
        {"folder": "x", "durability": True},
        {"folder": "x", "raw": "yes"},
        {"folder": "x", "read_only": 1},
        {"folder": "x", "timeout": 0},
        {"folder": "x", "timeout": -1},
        {"folder": "x", "timeout": None},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        FileTreeStore(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_urls() -> None:
    store = store_from_url("file-tree:///var/a%20b?durability=off&timeout=2&raw=true")
    assert isinstance(store, FileTreeStore)
    assert store.arguments == {
        "folder": "/var/a b",
        "durability": "off",
        "timeout": 2.0,
        "raw": True,
    }
    for url in (
        "file-tree://host/x",
        "file-tree://",
        "file-tree:///",
        "file-tree:///x?timeot=1",
        "file-tree:///x?durability=half",
        "file-tree:///x?raw=perhaps",
        "file-tree:///x%00y",
        "file-tree:///run#1",
    ):
        with pytest.raises(KvwrapError):
            FileTreeStore.from_url(url)


async def test_a_relative_path_is_that_of_the_folder_where_the_store_was_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    store = FileTreeStore("tree")
    monkeypatch.chdir(tmp_path)
    await store.put("a", 1)
    await store.close()
    assert (tmp_path / "one" / "tree" / "_default" / "a").is_file()
    assert store.location == FileTreeStore(tmp_path / "one" / "tree", raw=True).location
    assert store.location != FileTreeStore(tmp_path / "tree").location


async def test_a_read_only_store_reads_and_refuses_changes(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("a", 1)
    before = files(folder)
    store = FileTreeStore(folder, read_only=True)
    assert Capability.COMPARE_AND_PUT not in store.capabilities
    assert Capability.DESTROY not in store.capabilities
    async with store:
        assert await store.get("a") == 1
        assert await store.keys() == ["a"]
        assert await store.count() == 1
        assert await store.collections() == []
        for change in (
            lambda: store.put("a", 2),
            lambda: store.delete("a"),
            lambda: store.expire("a", 5),
            lambda: store.increment("n"),
            store.destroy,
            store.cull,
        ):
            with pytest.raises(ReadOnlyViolation, match="read-only"):
                await change()
    assert files(folder) == before
    with pytest.raises(StoreUnavailable):
        await FileTreeStore(folder.parent / "missing", read_only=True).check()


def test_a_folder_that_may_not_be_written_to_makes_the_store_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked of the system, since tests may run as a user who may do everything.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert Capability.COMPARE_AND_PUT not in FileTreeStore(tmp_path).capabilities
    assert Capability.COMPARE_AND_PUT in FileTreeStore(tmp_path / "new").capabilities
