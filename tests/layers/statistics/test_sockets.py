"""The file of the socket of `Statistics`: locks, what dead processes left, and cancellation."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from kvwrap import ConfigurationError, MemoryStore, Statistics, Store, stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-") as name:
        yield Path(name)


def served(path: Path) -> Store:
    return stack(Statistics(socket=path)).over(MemoryStore())


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def leave(path: Path) -> None:
    """Make the socket of a process that has ended."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_lock_of_the_folder_keeps_nothing_from_opening(folder: Path) -> None:
    """Every user who can list a folder can lock it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        async with served(folder / "s.sock"):
            assert files(folder) == {"s.sock"}
    finally:
        os.close(lock)
    assert files(folder) == set()


async def test_a_lock_of_the_socket_that_is_held_is_told(folder: Path) -> None:
    lock = folder / "s.sock.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match=r"locked '.*s\.sock\.lock' for 1 s: end it"):
            await served(folder / "s.sock").open()
    # Of a process that has ended with it, there is only the file.
    assert files(folder) == {"s.sock.lock"}
    async with served(folder / "s.sock"):
        assert files(folder) == {"s.sock"}


async def test_a_link_is_not_followed_to_make_a_lock(folder: Path) -> None:
    (folder / "s.sock.lock").symlink_to(folder / "victim")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        await served(folder / "s.sock").open()
    assert not (folder / "victim").exists()


async def test_the_sockets_of_dead_workers_are_removed(folder: Path) -> None:
    for name in ("1.sock", "2.sock", "other.sock"):
        leave(folder / name)
    (folder / "4.sock").write_text("mine")
    with ExitStack() as opened:
        live = opened.enter_context(socket.socket(socket.AF_UNIX))
        live.bind(str(folder / "3.sock"))
        live.listen()
        lock = opened.enter_context((folder / "2.sock.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker is about to listen there
        kept = {"2.sock", "2.sock.lock", "3.sock", "4.sock", "other.sock"}
        async with served(folder / "{pid}.sock"):
            assert files(folder) == {*kept, f"{os.getpid()}.sock"}
    assert files(folder) == kept


async def test_a_cancelled_opening_leaves_nothing(folder: Path) -> None:
    for turns in range(8):
        store = served(folder / "s.sock")
        opening = asyncio.create_task(store.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
            await store.close()
        assert files(folder) == set()
        async with served(folder / "s.sock"):
            assert files(folder) == {"s.sock"}
