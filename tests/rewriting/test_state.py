"""The file with the state of a rewrite: damage, other stores, kill -9."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, SQLiteStore, Store, rewrite, stack
from kvwrap.rewriting.rewrite import Progress
from tests.rewriting.entries import NEW, OLD, fill


async def interrupted(store: Store, path: Path, after: int = 20) -> None:
    """Rewrite up to a number of entries, and leave the state in a file."""

    def interrupt(progress: Progress) -> None:
        if progress.report.seen >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rewrite(store, batch=10, progress=interrupt, resume=path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"target": 1}',
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"store": "MemoryStore", "target": [], "report": {}, "format": 1}',
        b'{"store": "MemoryStore", "target": [], "report": {}, "format": 3}',
        b'{"store": "MemoryStore", "target": [], "report": {"forms": {"no hex": 1}}}',
        b'{"store": "MemoryStore", "target": [], "report": {"seen": "many"}}',
    ],
)
async def test_files_without_a_state_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="not the state of a rewrite"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), resume=path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("resume", [5, b"path", "", "a\0b", ["path"]])
async def test_what_is_no_path_is_refused(resume: Any) -> None:
    with pytest.raises(ConfigurationError, match="`resume` must be the path"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), resume=resume)


@pytest.mark.parametrize("resume", [{}, {"store": 1}, {5: 6}])
async def test_what_is_no_state_is_refused(resume: Any) -> None:
    with pytest.raises(ConfigurationError, match="passed as `resume` is not the state"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), resume=resume)


async def test_every_truncation_of_a_state_is_refused(tmp_path: Path) -> None:
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 30)
    store = stack().encrypt(NEW).over(base)
    path = tmp_path / "state"
    await interrupted(store, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigurationError, match="not the state of a rewrite"):
            await rewrite(store, resume=path)
    path.write_bytes(whole)
    assert (await rewrite(store, resume=path)).seen == 90


async def test_a_state_of_another_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    async with SQLiteStore(tmp_path / "a.db") as a, SQLiteStore(tmp_path / "b.db") as b:
        for base in (a, b):
            await fill(stack().encrypt(OLD).over(base), 30)
        await interrupted(stack().encrypt(NEW).over(a), path)
        with pytest.raises(ConfigurationError, match=r"must be that of a rewrite .*b\.db.*a\.db"):
            await rewrite(stack().encrypt(NEW).over(b), resume=path)
        report = await rewrite(stack().encrypt(NEW).over(a), resume=path)
        assert (report.seen, report.rewritten) == (90, 90)
        assert (await rewrite(stack().encrypt(NEW).over(b), resume=path)).rewritten == 90


@pytest.mark.parametrize("where", ["missing/state", "file/state", "folder"])
async def test_a_path_that_cannot_be_used_is_refused_before_anything_is_done(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1)
    store = stack().encrypt(NEW).over(base)
    with pytest.raises(ConfigurationError, match=r"the state file .* cannot be (read|written)"):
        await rewrite(store, resume=tmp_path / where)
    assert (await rewrite(store, dry_run=True)).rewritten == 1


async def test_only_the_user_can_read_the_file(tmp_path: Path) -> None:
    """It has names of keys."""
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 30)
    path = tmp_path / "state"
    path.with_name("state.new").write_text("left by a process that was killed")
    path.with_name("state.new").chmod(0o644)
    old = os.umask(0)
    try:
        await interrupted(stack().encrypt(NEW).over(base), path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


async def test_the_file_is_written_while_the_rewrite_runs(tmp_path: Path) -> None:
    """A process that is killed repeats at most what it did in half a second."""
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 30)
    path = tmp_path / "state"
    saved: list[int] = []

    def look(progress: Progress) -> None:
        saved.append(json.loads(path.read_bytes())["report"]["seen"])
        assert not progress.report.complete
        if progress.report.seen == 40:
            time.sleep(0.55)

    await rewrite(stack().encrypt(NEW).over(base), batch=10, progress=look, resume=path)
    assert saved[0] <= 10
    assert saved[-1] >= 50


async def test_a_file_that_somebody_deletes_meanwhile_fails_nothing(tmp_path: Path) -> None:
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 30)
    path = tmp_path / "state"
    store = stack().encrypt(NEW).over(base)
    report = await rewrite(store, resume=path, progress=lambda _: path.unlink(missing_ok=True))
    assert report.complete
    assert not path.exists()


KILLED = """
import asyncio, sys
from kvwrap import SQLiteStore, rewrite, stack
from tests.rewriting.entries import NEW

async def main():
    async with stack().encrypt(NEW).over(SQLiteStore(sys.argv[1])) as store:
        await rewrite(store, batch=1, resume=sys.argv[2], progress=lambda p: print(flush=True))

asyncio.run(main())
"""


async def test_a_killed_rewrite_goes_on(tmp_path: Path) -> None:
    database, path = tmp_path / "store.db", tmp_path / "state"
    async with stack().encrypt(OLD).over(SQLiteStore(database)) as store:
        values = await fill(store, 300)
    for batches in (1, 40, 15):
        command = [sys.executable, "-c", KILLED, str(database), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
            assert process.stdout is not None
            for _ in range(batches):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert json.loads(path.read_bytes())["format"] == 2
    async with stack().encrypt(NEW).over(SQLiteStore(database)) as store:
        report = await rewrite(store, resume=path)
        assert (report.seen, report.failed, report.keys) == (900, 0, {"new": 900})
        assert report.complete
        for (collection, key), value in values.items():
            assert await store.get(key, collection=collection) == value
    assert not path.exists()


async def test_a_failure_that_ends_the_rewrite_is_the_error_that_is_raised(tmp_path: Path) -> None:
    """Not the one of the state file, which then cannot be written either."""
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 30)
    folder = tmp_path / "folder"
    folder.mkdir()

    def fail(progress: Any) -> None:
        (folder / "state").unlink()
        folder.rmdir()
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="own"):
        await rewrite(stack().encrypt(NEW).over(base), progress=fail, resume=folder / "state")
