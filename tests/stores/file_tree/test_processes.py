"""FileTreeStore: several processes, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvwrap import FileTreeStore, StoreTimeout
from tests.stores.file_tree.programs import HALF_A_FILE, WRITING, start


def unfinished(folder: Path) -> list[Path]:
    """Return the unfinished files that are left in a tree."""
    return list((folder / ".kvwrap").glob("*.tmp"))


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill a process at the end."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def ended(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for processes that end by themselves."""
    for process in processes:
        with running(process):
            _, words = await asyncio.to_thread(process.communicate, timeout=100)
        assert process.returncode == 0, words.decode()


async def test_no_reader_meets_half_a_file_and_a_killed_writer_leaves_none(folder: Path) -> None:
    async with FileTreeStore(folder) as store:
        for _ in range(3):
            with running(start(WRITING, folder)) as process:
                assert process.stdout is not None
                line = await asyncio.to_thread(process.stdout.readline)
                while int(line) < 20:
                    for value in await store.get_many(["a", "b"]):
                        assert value is not None
                        assert len(value[1]) == 200_000
                    line = await asyncio.to_thread(process.stdout.readline)
                os.kill(process.pid, signal.SIGKILL)
                rest, _ = await asyncio.to_thread(process.communicate)
            acknowledged = max([int(line), *map(int, rest.split()[:-1])])
            numbers = [value[0] for value in await store.get_many(["a", "b"])]
            assert all(number >= acknowledged for number in numbers)
            await store.put("a", [0, ""])  # no lock is left
            await store.cull()
            assert unfinished(folder) == []


async def test_a_writer_killed_in_the_middle_of_a_file(folder: Path) -> None:
    with running(start(HALF_A_FILE, folder)) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"half\n"
        async with FileTreeStore(folder, timeout=0.05) as store:
            assert await store.get("k") == "before"
            with pytest.raises(StoreTimeout, match="lock"):
                await store.put("k", "mine")
            with pytest.raises(StoreTimeout):
                await store.cull()
            assert len(unfinished(folder)) == 1
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            assert await store.get("k") == "before"
            await store.put("k", "mine")
            await store.put("other", 1)
            assert len(unfinished(folder)) == 1
            await store.cull()
            assert list((folder / ".kvwrap").iterdir()) == []
            assert await store.get_many(["k", "other"]) == ["mine", 1]


async def test_scrubbing_removes_what_a_killed_writer_left(folder: Path) -> None:
    with running(start(HALF_A_FILE, folder)) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
    async with FileTreeStore(folder) as store:
        assert len(unfinished(folder)) == 1
        for lock in (folder / ".kvwrap").glob("*.lock"):
            lock.unlink()
        (folder / ".kvwrap" / "notes.txt").write_text("mine")
        await store.scrub()
        assert [path.name for path in (folder / ".kvwrap").iterdir()] == ["notes.txt"]
        assert await store.get("k") == "before"


async def test_a_stopped_writer_holds_up_the_others_until_their_timeout(folder: Path) -> None:
    with running(start(HALF_A_FILE, folder)) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        os.kill(process.pid, signal.SIGSTOP)
        async with FileTreeStore(folder, timeout=0.05) as store:
            writing = [store.put("k", number) for number in range(20)]
            async with asyncio.timeout(30):
                results = await asyncio.gather(*writing, return_exceptions=True)
            assert all(isinstance(result, StoreTimeout) for result in results)
            os.kill(process.pid, signal.SIGCONT)


async def test_sweeps_and_writes_of_several_stores_do_not_disturb_each_other(folder: Path) -> None:
    # Sweeps remove the locks, and the folders that are empty at the moment.
    async def work(number: int) -> None:
        async with FileTreeStore(folder, durability="off", timeout=60) as store:
            for turn in range(40):
                await store.increment("n", collection="c")
                await store.put(f"{number}", turn, collection="d")
                assert await store.delete(f"{number}", collection="d")
                await store.cull()

    await asyncio.gather(*map(work, range(4)))
    async with FileTreeStore(folder) as store:
        assert await store.get("n", collection="c") == 160
        assert await store.collections() == ["c"]


FORKING = """
async def main():
    async with FileTreeStore(folder) as store:
        await store.put("a", 1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store.get("a").send(None)
            except StoreUnavailable as error:
                code = 0 if "fork" in str(error) else 2
            except BaseException:
                code = 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get("a") == 1

asyncio.run(main())
"""


async def test_use_in_a_forked_child_is_refused_and_does_not_hang(folder: Path) -> None:
    await ended([start(FORKING, folder)])
