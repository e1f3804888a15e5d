"""LMDBStore: many processes, kills, stops and forks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvwrap import Keyring, LMDBStore, StoreTimeout, stack

MIB = 1 << 20
KEYRING = Keyring({"k": b"k" * 32})


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def end(*processes: subprocess.Popen[bytes]) -> list[bytes]:
    """Wait for processes, which must succeed. Returns what they printed."""
    outputs = []
    for process in processes:
        output, errors = await asyncio.to_thread(process.communicate, timeout=110)
        assert process.returncode == 0, errors.decode()
        outputs.append(output)
    return outputs


@contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until it has printed a line, and kill it after the block."""
    process = start(program, *arguments)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


COUNTING = """
import asyncio, sys
from kvwrap import Keyring, LMDBStore, stack

async def main():
    layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
    async with layers.over(LMDBStore(sys.argv[1], timeout=60)) as store:
        async def count():
            for _ in range(int(sys.argv[3])):
                await store.increment("count", collection="c")
        await asyncio.gather(*(count() for _ in range(int(sys.argv[2]))))

asyncio.run(main())
"""


@pytest.mark.parametrize(("processes", "tasks", "times"), [(2, 8, 250), (8, 2, 20)])
async def test_processes_that_start_at_once_share_a_counter_exactly(
    folder: Path, processes: int, tasks: int, times: int
) -> None:
    # The folder does not exist yet: all of them create it, with its databases.
    await end(*(start(COUNTING, folder, tasks, times) for _ in range(processes)))
    layers = stack().compress(min_size=0).encrypt(KEYRING)
    async with layers.over(LMDBStore(folder)) as store:
        assert await store.get("count", collection="c") == processes * tasks * times


WRITING = """
import asyncio, sys
from kvwrap import LMDBStore

async def main():
    store = LMDBStore(sys.argv[1])
    async def put(task):
        for number in range(1_000_000):
            await store.put_many([f"{task}/{number}/{i}" for i in range(5)], [number] * 5, ttl=1e6)
            print(task, number, flush=True)
    await asyncio.gather(*map(put, range(3)))

asyncio.run(main())
"""


async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_batch(
    folder: Path,
) -> None:
    for _ in range(3):
        process = start(WRITING, folder)
        assert process.stdout is not None
        last = [-1, -1, -1]
        for line in iter(process.stdout.readline, b""):
            task, number = map(int, line.split())
            last[task] = number
            if sum(last) >= 60:
                os.kill(process.pid, signal.SIGKILL)
                break
        rest, _ = process.communicate(timeout=60)
        for line in rest.splitlines():
            task, number = map(int, line.split())
            last[task] = number
        async with LMDBStore(folder, synchronous="off") as store:
            for task in range(3):
                for number in range(last[task] + 2):
                    keys = [f"{task}/{number}/{i}" for i in range(5)]
                    batch = await store.get_many(keys)
                    assert batch in ([number] * 5, [None] * 5)
                    assert batch == [number] * 5 or number > last[task]
            await store.put("after", 1)
            assert await store.destroy() is True


READING = """
import asyncio, sys
from kvwrap import LMDBStore

async def main():
    async with LMDBStore(sys.argv[1], read_only=len(sys.argv) > 2) as store:
        print(await store.get("number"), flush=True)
        for line in sys.stdin:
            number = int(line)
            assert await store.get("number") == number
            assert await store.get(f"large {number}") == "x" * (30 << 20)
            assert await store.count() == number + 2
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("arguments", [(), ("read only",)])
async def test_readers_follow_a_map_that_another_process_makes_larger(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    async with LMDBStore(folder, synchronous="off") as store:
        await store.put("number", -1)
        with running(READING, folder, *arguments) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for number in range(6):
                await store.put(f"large {number}", "x" * (30 * MIB))
                await store.put("number", number)
                process.stdin.write(b"%d\n" % number)
                process.stdin.flush()
                assert await asyncio.to_thread(process.stdout.readline) == b"%d\n" % number


GROWING = """
import asyncio, sys
from kvwrap import LMDBStore

async def main():
    async with LMDBStore(sys.argv[1], synchronous="off", timeout=60) as store:
        for number in range(30):
            await store.put(f"{sys.argv[2]} {number}", "x" * (4 << 20))
            assert await store.get(f"{sys.argv[2]} {number}") == "x" * (4 << 20)

asyncio.run(main())
"""


async def test_processes_that_grow_one_map(folder: Path) -> None:
    await end(*(start(GROWING, folder, name) for name in "abc"))
    async with LMDBStore(folder) as store:
        assert await store.count() == 90


HOLDING = """
import lmdb, sys
environment = lmdb.open(sys.argv[1], max_dbs=2, create=False, map_size=1 << 26)
with environment.begin(write=True):
    print("writing", flush=True)
    sys.stdin.read()
"""


async def test_a_process_that_stops_within_a_write_delays_no_reader_and_no_writer_for_ever(
    folder: Path,
) -> None:
    async with LMDBStore(folder, timeout=1.0) as store:
        await store.put("a", 1)
        with running(HOLDING, folder) as process:
            os.kill(process.pid, signal.SIGSTOP)
            for _ in range(2):
                with pytest.raises(StoreTimeout, match="within timeout"):
                    await store.put("a", 2)
            assert await store.get("a") == 1
            assert await store.keys() == ["a"]
            waiting = asyncio.create_task(store.put("a", 3))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        # The killed process has released its lock, and what was given up is not written.
        assert await store.get("a") == 1
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.put("a", 4)
                    break
                except StoreTimeout:
                    continue
        assert await store.get("a") == 4


async def test_closing_does_not_wait_for_another_process_for_ever(folder: Path) -> None:
    store = LMDBStore(folder, timeout=1.0)
    await store.put("a", 1)
    with running(HOLDING, folder):
        with pytest.raises(StoreTimeout):
            await store.put("a", 2)
        await store.close()
    # With the same options: the environment may be closed only after this has opened it.
    async with LMDBStore(folder, timeout=1.0) as store:
        assert await store.get("a") == 1
        await store.put("a", 3)


FORKING = """
import asyncio, os, sys
from kvwrap import LMDBStore, StoreUnavailable

async def child(inherited):
    for call in (inherited.get("a"), inherited.put("a", 2), inherited.keys()):
        try:
            await call
        except StoreUnavailable as error:
            assert "fork" in str(error)
        else:
            raise AssertionError("the inherited store was used")
    async with LMDBStore(sys.argv[1]) as own:
        assert await own.get("a") == 1
        await own.put("b", "child's")
    await inherited.close()

async def main():
    async with LMDBStore(sys.argv[1]) as store:
        await store.put("a", 1)
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    asyncio.events._set_running_loop(None)
                    asyncio.run(child(store))
                    code = 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert await store.get_many(["a", "b"]) == [1, "child's"]
            await store.put("c", 1)

asyncio.run(main())
"""


async def test_a_forked_child_opens_its_own_store_beside_that_of_its_parent(folder: Path) -> None:
    await end(start(FORKING, folder))
    async with LMDBStore(folder) as store:
        assert await store.get_many(["a", "b", "c"]) == [1, "child's", 1]
