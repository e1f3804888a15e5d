"""FileTreeStore: files that people edit, damaged files, and what other programs put there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kvwrap import (
    AccessDenied,
    CorruptEntry,
    FileTreeStore,
    Keyring,
    KvwrapError,
    StoreUnavailable,
    stack,
)
from kvwrap.core.serializer import JSON
from kvwrap.testing import ManualClock


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, as a person does in an editor."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# -- edited by hand ----------------------------------------------------------------------


async def test_an_edited_value_is_read_and_has_a_version_of_its_own(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("ada", {"visits": 1}, ttl=1000)
        before = await store.get_versioned("ada")
        assert before is not None
        edit(folder / "_default" / "ada", '{"visits":1}\n', '{\n  "visits": 2\n}\n')
        value, left = await store.ttl("ada")
        assert value == {"visits": 2}
        assert left is not None
        assert not await store.compare_and_put("ada", {"visits": 9}, before.version)
        edited = await store.get_versioned("ada")
        assert edited is not None
        assert await store.compare_and_put("ada", {"visits": 3}, edited.version)
        assert await store.get("ada") == {"visits": 3}


async def test_an_edited_counter_is_incremented(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("n", 1)
        edit(folder / "_default" / "n", "\n1\n", "\n41\n")
        assert await store.increment("n") == 42


@pytest.mark.parametrize("zone", ["Z", "", "+00:00"])
async def test_an_edited_expiry_holds(folder: Path, clock: ManualClock, zone: str) -> None:
    async with FileTreeStore(folder, clock=clock) as store:
        await store.put("ada", 1, ttl=60)  # until 03:34:20
        edit(folder / "_default" / "ada", "T03:34:20Z", f"T03:33:25{zone}")
        assert await store.ttl("ada") == (1, 5)
        clock.advance(5)
        assert await store.get("ada") is None
        assert await store.keys() == []
        await store.cull()
        assert list((folder).rglob("ada")) == []


async def test_a_copied_file_is_an_entry_of_its_new_name(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("ada", {"visits": 1})
        data = (folder / "_default" / "ada").read_bytes()
        (folder / "_default" / "grace").write_bytes(data)
        assert await store.keys() == ["ada", "grace"]
        assert await store.get("grace") == {"visits": 1}


async def test_a_value_that_is_no_longer_json_is_corrupt(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("ada", {"visits": 1})
        edit(folder / "_default" / "ada", '{"visits":1}', '{"visits":1')
        with pytest.raises(CorruptEntry) as caught:
            await store.get("ada")
        assert caught.value.key == "ada"
        await store.put("ada", 2)
        assert await store.get("ada") == 2


# -- damage ------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["none", "compressed", "encrypted"])
async def test_no_part_of_a_file_is_read(folder: Path, layers: str) -> None:
    chain = {
        "none": stack(),
        "compressed": stack().compress(min_size=0),
        "encrypted": stack().encrypt(Keyring({"k": b"k" * 32})),
    }[layers]
    async with chain.over(FileTreeStore(folder, durability="off")) as store:
        await store.put("k", 123456789)
        path = folder / "_default" / "k"
        data = path.read_bytes()
        for end in range(len(data)):
            path.write_bytes(data[:end])
            with pytest.raises(KvwrapError) as caught:
                await store.get("k")
            assert type(caught.value) is CorruptEntry, end
        path.write_bytes(data)
        assert await store.get("k") == 123456789


@pytest.mark.parametrize("bytes_", [b"", b"{", b'{"kvwrap":1,"created":', b'{"kvwrap":1}\n1\n'])
async def test_what_is_left_of_a_file_may_be_replaced_and_deleted(
    folder: Path, bytes_: bytes
) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("k", 1)
        path = folder / "_default" / "k"
        path.write_bytes(bytes_)
        with pytest.raises(CorruptEntry):
            await store.get("k")
        with pytest.raises(CorruptEntry):
            await store.increment("k")
        await store.put("k", 2)
        assert await store.get("k") == 2
        path.write_bytes(bytes_)
        await store.delete("k")
        assert not path.exists()


async def test_altered_bytes_of_layers_are_corrupt(folder: Path) -> None:
    async with stack().compress(min_size=0).over(FileTreeStore(folder)) as store:
        await store.put("k", "x" * 100)
        path = folder / "_default" / "k"
        data = path.read_bytes()
        for changed in (data + b"\n", data[:-1], data.replace(b'"version":"', b'"version":"0')):
            path.write_bytes(changed)
            with pytest.raises(CorruptEntry):
                await store.get("k")
        (folder / "_default" / "other").write_bytes(data)
        with pytest.raises(CorruptEntry):
            await store.get("other")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"kvwrap":1', '"kvwrap":2', "form 2"),
        ('"version":"', '"version":"x', "hex"),
        ('"codec":"json"', '"codec":"jsn"', "hex"),
        ('"created":"', '"created":"yesterday', "head"),
    ],
)
async def test_a_head_that_makes_no_sense(folder: Path, old: str, new: str, match: str) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("k", 1)
        edit(folder / "_default" / "k", old, new)
        with pytest.raises(CorruptEntry, match=match):
            await store.get("k")


async def test_a_hashed_name_that_the_file_does_not_confirm(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("k" * 300, 1)
        (path,) = (folder / "_default").iterdir()
        edit(path, "k" * 300, "k" * 299)
        assert await store.keys() == []
        with pytest.raises(CorruptEntry):
            await store.get("k" * 300)


# -- other programs' files ----------------------------------------------------------------


async def test_a_file_without_a_head_is_not_replaced_nor_deleted(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put_many(["a", "z"], [1, 1])
        path = folder / "_default" / "m"
        path.write_text('{"theirs": true}\n')
        assert await store.keys() == ["a", "z"]
        assert await store.count() == 2
        for call in (
            lambda: store.get("m"),
            lambda: store.put("m", 1),
            lambda: store.put_if_absent("m", 1),
            lambda: store.delete("m"),
            lambda: store.expire("m", 1),
        ):
            with pytest.raises(CorruptEntry, match="raw=True") as caught:
                await call()
            assert caught.value.key == "m"
        with pytest.raises(CorruptEntry) as caught:
            await store.put_many(["a", "m", "z"], [2, 2, 2])
        assert caught.value.succeeded == ("a",)
        assert await store.get_many(["a", "z"]) == [2, 1]
        await store.destroy()
        assert path.read_text() == '{"theirs": true}\n'


async def test_raw_files_are_values(folder: Path) -> None:
    (folder / "users").mkdir(parents=True)
    (folder / "users" / "ada").write_text('{"visits": 1}\n')
    async with FileTreeStore(folder, raw=True, serializer=JSON) as store:
        assert await store.keys("users") == ["ada"]
        assert await store.get("ada", collection="users") == {"visits": 1}
        versioned = await store.get_versioned("ada", collection="users")
        assert versioned is not None
        assert await store.compare_and_put("ada", 7, versioned.version, collection="users")
        assert not await store.compare_and_put("ada", 8, versioned.version, collection="users")
        assert (folder / "users" / "ada").read_text() == "7"
        assert await store.increment("ada", collection="users") == 8
        await store.put("ada", 9, collection="users", ttl=60)
        assert (folder / "users" / "ada").read_text().startswith('{"kvwrap":1,')
        assert await store.expire("ada", None, collection="users")
        assert (folder / "users" / "ada").read_text() == "9"
        assert await store.destroy_collection("users")
        assert not (folder / "users").exists()


async def test_raw_values_are_bytes_by_default_and_never_taken_for_a_head(folder: Path) -> None:
    values = [b"\x89PNG\r\n", b"", b'{"kvwrap":1}', b'{"kvwrap":', b"\xabk\x02"]
    keys = [f"{number}.png" for number in range(len(values))]
    async with FileTreeStore(folder, raw=True) as store:
        await store.put_many(keys, values)
        await store.put("x" * 300, b"long")
        assert await store.get_many(keys) == values
        assert await store.get("x" * 300) == b"long"
        assert await store.keys() == [*keys, "x" * 300]
    assert (folder / "_default" / "0.png").read_bytes() == b"\x89PNG\r\n"
    assert "raw" in FileTreeStore(folder, raw=True).traits


def _link(path: Path) -> None:
    (path.parent.parent.parent / "secret").write_text("1")
    path.symlink_to(path.parent.parent.parent / "secret")


def _socket(path: Path) -> None:
    # Bound by a short path, as those of sockets are limited.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("make", [_link, os.mkfifo, Path.mkdir, _socket])
async def test_what_is_no_file_is_neither_followed_nor_replaced(
    folder: Path, make: Callable[[Path], object], raw: bool
) -> None:
    async with FileTreeStore(folder, raw=raw, serializer=JSON) as store:
        await store.put("a", 1)
        path = folder / "_default" / "m"
        make(path)
        before = path.lstat()
        assert await store.keys() == ["a"]
        assert await store.count() == 1
        for call in (
            lambda: store.get("m"),
            lambda: store.put("m", 2),
            lambda: store.put_if_absent("m", 2),
            lambda: store.delete("m"),
        ):
            with pytest.raises(CorruptEntry, match="a file in the place of the key") as caught:
                await call()
            assert caught.value.key == "m"
        await store.destroy()
        assert path.lstat().st_ino == before.st_ino
    if make is _link:
        assert (folder.parent / "secret").read_text() == "1"


async def test_a_collection_that_is_a_link_is_not_followed(folder: Path) -> None:
    outside = folder.parent / "outside"
    async with FileTreeStore(outside) as store:
        await store.put("k", 1)
    async with FileTreeStore(folder) as store:
        await store.put("k", 1)
        (folder / "c").symlink_to(outside / "_default")
        (folder / "d").write_text("a file")
        assert await store.collections() == []
        for collection in ("c", "d"):
            for call in (
                lambda name: store.get("k", collection=name),
                lambda name: store.put("k", 2, collection=name),
                lambda name: store.delete("k", collection=name),
                lambda name: store.keys(name),
                lambda name: store.destroy_collection(name),
            ):
                with pytest.raises(CorruptEntry, match="a folder in the place"):
                    await call(collection)
        await store.destroy()
        await store.cull()
    async with FileTreeStore(outside) as store:
        assert await store.get("k") == 1


async def test_a_hidden_folder_that_is_a_link_is_not_followed(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    async with FileTreeStore(folder) as store:
        (folder / ".kvwrap").symlink_to(outside)
        with pytest.raises(StoreUnavailable):
            await store.put("k", 1)
    assert list(outside.iterdir()) == []


async def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FileTreeStore(folder) as store:
        await store.put_many(["a", "b"], [1, 2])
        open_ = os.open

        def refuse(path: str, *arguments: int, **options: int) -> int:
            # As a user who may do everything, no mode of a file would refuse it.
            if path == "a":
                raise PermissionError(13, "Permission denied")
            return open_(path, *arguments, **options)

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(AccessDenied) as caught:
            await store.get("a")
        assert caught.value.key == "a"
        assert await store.get("b") == 2
