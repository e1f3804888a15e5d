"""FileTreeStore: full disks, limits, lost folders, and what is on the disk when."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    AccessDenied,
    FileTreeStore,
    KvwrapError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from tests.stores.file_tree.programs import start
from tests.stores.file_tree.test_processes import ended, unfinished

Wrapped = Callable[..., Any]


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, after: int = 0
) -> Callable[[], None]:
    """Let a function of `os` fail with this error after some calls, until this is undone."""
    function: Wrapped = getattr(os, name)
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code))
        return function(*arguments, **options)

    monkeypatch.setattr(os, name, fail)
    return lambda: monkeypatch.setattr(os, name, function)


@pytest.mark.parametrize("name", ["write", "fsync"])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, ValueTooLarge),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
        (errno.EACCES, AccessDenied),
    ],
)
async def test_a_write_that_fails_changes_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
    error: type[KvwrapError],
) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("a", 1)
        mend = failing(monkeypatch, name, code)
        with pytest.raises(KvwrapError, match=errno.errorcode[code]) as caught:
            await store.put("a", "secret")
        assert type(caught.value) is error
        assert caught.value.key == "a"
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
        mend()
        assert unfinished(folder) == []
        assert await store.get("a") == 1
        await store.put("a", 2)
        assert await store.get("a") == 2


async def test_a_batch_tells_what_was_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["a", "b", "c", "d"]
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(keys, [0] * 4)
        mend = failing(monkeypatch, "write", errno.ENOSPC, after=2)
        with pytest.raises(StoreFull) as caught:
            await store.put_many(keys, [1] * 4)
        mend()
        assert caught.value.succeeded == ("a", "b")
        assert caught.value.key == "c"
        assert await store.get_many(keys) == [1, 1, 0, 0]
        mend = failing(monkeypatch, "unlink", errno.EIO, after=1)
        with pytest.raises(StoreUnavailable) as caught:
            await store.delete_many(keys)
        mend()
        assert caught.value.succeeded == ("a",)
        assert await store.keys() == ["b", "c", "d"]


async def test_a_batch_whose_names_may_not_be_on_the_disk_has_not_succeeded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("x", 1)
        mend = failing(monkeypatch, "fsync", errno.EIO, after=2)  # of the two files
        with pytest.raises(StoreUnavailable, match="EIO") as caught:
            await store.put_many(["a", "b"], [1, 2])
        mend()
        assert caught.value.succeeded == ()


LIMITED = """
import resource

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    async with FileTreeStore(folder) as store:
        try:
            await store.put_many(["a", "b", "c"], ["x", "y" * 20_000, "z"])
        except ValueTooLarge as error:
            assert (error.key, error.succeeded) == ("b", ("a",)), error
        else:
            raise AssertionError("no error")
        assert await store.get_many(["a", "b", "c"]) == ["x", None, None]
        await store.put("b", "y" * 9_000)
        assert os.listdir(folder + "/.kvwrap") and not any(
            name.endswith(".tmp") for name in os.listdir(folder + "/.kvwrap"))

asyncio.run(main())
"""


async def test_a_value_over_the_systems_limit_in_the_middle_of_a_batch(folder: Path) -> None:
    await ended([start(LIMITED, folder)])


async def test_a_full_disk_can_be_emptied_through_the_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FileTreeStore(folder) as store:
        await store.put_many(["a", "b"], [1, 2], collection="c")
        mend = failing(monkeypatch, "write", errno.ENOSPC)
        with pytest.raises(StoreFull):
            await store.put("d", 1)
        assert await store.delete("a", collection="c")
        assert await store.delete_where(collection="c") == 1
        mend()
        assert await store.collections() == []


async def test_a_folder_that_is_missing_or_lost(folder: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no folder"):
        await FileTreeStore(folder / "deeper").check()
    async with FileTreeStore(folder) as store:
        await store.put("a", 1)
        shutil.rmtree(folder)
        for call in (
            store.check,
            lambda: store.get("a"),
            lambda: store.put("a", 1),
            lambda: store.delete("a"),
            store.keys,
            store.collections,
            store.count,
            store.destroy,
            store.cull,
        ):
            with pytest.raises(StoreUnavailable, match="must be a folder") as caught:
                await call()
            assert isinstance(caught.value.__cause__, OSError)
        assert not folder.exists()
        folder.mkdir()
        await store.put("a", 2)
        assert await store.get("a") == 2


async def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="must be a folder"):
        await FileTreeStore(tmp_path / "file").put("a", 1)


async def test_a_collection_that_others_remove_is_made_again(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        await store.put("a", 1)
        shutil.rmtree(folder / "_default")
        shutil.rmtree(folder / ".kvwrap")
        assert await store.get("a") is None
        assert not await store.delete("a")
        assert await store.put_if_absent("a", 2)
        assert await store.get("a") == 2


@pytest.mark.parametrize("durability", ["full", "off"])
async def test_what_is_on_the_disk_before_a_call_returns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    events: list[str] = []

    def recorded(name: str, show: Callable[..., str]) -> None:
        function: Wrapped = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            events.append(show(*arguments))
            return function(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    def path_of(descriptor: int) -> str:
        name = os.path.relpath(os.path.realpath(f"/proc/self/fd/{descriptor}"), folder)
        return "unfinished" if name.endswith(".tmp") else name

    recorded("fsync", lambda descriptor: f"sync {path_of(descriptor)}")
    recorded("rename", lambda source, target: f"rename {target}")
    recorded("unlink", lambda name: f"delete {name}")
    async with FileTreeStore(folder, durability=durability) as store:
        await store.put("a", 1)
        await store.put_many(["b", "c"], [2, 3])
        await store.delete_many(["b", "x"])
        await store.expire("a", 100)
        await store.destroy()
    done = [
        "sync ..",  # the new folder
        "sync .",
        *("sync unfinished", "rename a", "sync _default"),
        *("sync unfinished", "rename b", "sync unfinished", "rename c", "sync _default"),
        *("delete b", "sync _default"),
        *("sync unfinished", "rename a", "sync _default"),
    ]
    if durability == "off":
        done = [event for event in done if not event.startswith("sync")]
    assert events[: len(done)] == done
    assert ("sync _default" in events[len(done) :]) == (durability == "full")


# -- locks -------------------------------------------------------------------------------


async def test_a_lock_that_was_removed_while_a_call_waited_is_not_held(folder: Path) -> None:
    async with FileTreeStore(folder, durability="off", timeout=60) as store:
        await store.put("a", 1)
        (path,) = (folder / ".kvwrap").glob("*.lock")

        def opened() -> int:
            fds = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
            return fds.count(str(path))

        with path.open("r+") as removed:
            fcntl.flock(removed, fcntl.LOCK_EX)
            writing = asyncio.create_task(store.put("a", 2))
            async with asyncio.timeout(30):
                while opened() < 2:
                    await asyncio.sleep(0.001)
            path.unlink()  # as a sweep does, which holds the lock
            with path.open("w") as current:
                fcntl.flock(current, fcntl.LOCK_EX)
                fcntl.flock(removed, fcntl.LOCK_UN)
                done, _ = await asyncio.wait([writing], timeout=0.3)
                assert not done
                assert await store.get("a") == 1
        await writing
        assert await store.get("a") == 2


# -- cancellation ------------------------------------------------------------------------


async def test_a_cancelled_batch_ends_before_its_call(folder: Path) -> None:
    keys = [f"k{number}" for number in range(300)]
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(keys, [0] * len(keys))
        for attempt in range(1, 6):
            writing = asyncio.create_task(store.put_many(keys, [attempt] * len(keys)))
            while await store.get("k0") != attempt:
                pass
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            first = await store.get_many(keys)
            assert set(first) <= {attempt - 1, attempt}
            assert first == sorted(first, reverse=True), "in the order of the batch"
            await store.put("other", attempt)
            assert await store.get_many(keys) == first
            await store.put_many(keys, [attempt] * len(keys))
            assert unfinished(folder) == []


async def test_a_call_that_waits_for_a_lock_is_cancelled_at_once(folder: Path) -> None:
    async with FileTreeStore(folder, timeout=1000) as store:
        await store.put("a", 1)
        (lock,) = (folder / ".kvwrap").glob("*.lock")
        with lock.open("r+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            writing = asyncio.create_task(store.put("a", 2))
            queued = asyncio.create_task(store.put("b", 2))
            assert await store.get("a") == 1  # reads do not wait
            queued.cancel()
            writing.cancel()
            async with asyncio.timeout(30):
                results = await asyncio.gather(writing, queued, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert await store.get_many(["a", "b"]) == [1, None]
        await store.put("a", 3)
        assert await store.get("a") == 3
