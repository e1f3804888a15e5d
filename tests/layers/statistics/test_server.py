"""`Statistics(socket=...)`: who may read, what is replaced, and clients that do harm."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    Encryption,
    Keyring,
    MemoryStore,
    Statistics,
    Store,
    stack,
)


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough for a socket, wherever the tests have their folders."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-") as folder:
        yield Path(folder) / "s.sock"


def served(path: Path | str) -> Store:
    layers = stack().statistics("sessions", socket=path).read_through(MemoryStore(), ttl=5)
    return layers.silence("near-without-ttl").over(MemoryStore())


async def read(path: Path | str) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        line = await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    found: dict[str, Any] = json.loads(line)
    return found


async def test_the_figures_of_the_stack_are_served_while_it_is_open(path: Path) -> None:
    store = served(path)
    assert not path.exists()
    async with store:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await store.put("a", 1, collection="users")
        await store.get("a", collection="users")
        found = await read(path)
        assert (found["format"], found["process"]) == (1, os.getpid())
        assert found["parts"] == ["Statistics", "ReadThrough", "MemoryStore"]
        values = {
            (each["layer"], each["name"], *each["labels"].values()): each["value"]
            for each in found["figures"]
            if each["stack"] == "sessions"
        }
        assert values["Statistics", "hits", "users", "read"] == 1
        assert values["Statistics", "operation.duration", "users", "write"]["buckets"]
        assert values["ReadThrough", "near.misses"] == 1
        assert values["near/MemoryStore", "entries"] == 1
    assert not path.exists()
    async with store:  # and again
        assert (await read(path))["process"] == os.getpid()


async def test_parts_are_those_of_the_stack(path: Path) -> None:
    """Without what layers put under themselves, which `explain()` leaves out, too."""
    near = stack().compress().over(MemoryStore())
    layers = stack().statistics(socket=path).tags().read_through(near, ttl=5)
    async with layers.encrypt(Keyring.generate()).over(MemoryStore()) as store:
        found = await read(path)
        assert found["parts"] == [part.name for part in store.parts]
        outer = stack().clamp_ttl(maximum=5).over(store)
        assert outer.find(Encryption).below is store.base


async def test_the_socket_of_a_dead_process_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    async with served(path):
        assert (await read(path))["process"] == os.getpid()
    assert not path.exists()


async def test_the_socket_of_a_live_process_and_another_file_stay(path: Path) -> None:
    async with served(path):
        with pytest.raises(ConfigurationError, match="for several processes"):
            await served(path).open()
        assert (await read(path))["process"] == os.getpid()
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="another kind of file"):
        await served(path).open()
    assert path.read_text() == "mine"


async def test_a_file_that_another_process_has_put_there_stays(path: Path) -> None:
    async with served(path):
        path.unlink()
        path.write_text("mine")
    assert path.read_text() == "mine"


async def test_each_worker_has_its_own(path: Path) -> None:
    async with served(path.with_name("{pid}.sock")):
        assert (await read(path.with_name(f"{os.getpid()}.sock")))["process"] == os.getpid()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(5, "must be the path"), ("", "must be the path"), ("/tmp/" + "x" * 200, "at most")],
)
def test_a_path_that_cannot_be_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Statistics(socket=wrong)


async def test_a_folder_that_is_missing_is_told(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder must exist"):
        await served(path.parent / "missing" / "s.sock").open()


async def test_clients_that_send_and_do_not_read_harm_nothing(path: Path) -> None:
    with ExitStack() as clients:
        async with served(path) as store:
            for _ in range(30):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
                client.send(b"\xff" * 1000)
            await store.put("a", 1)
            clients.close()
            found = None
            while found is None:  # until they are gone
                with suppress(ConnectionError, json.JSONDecodeError):
                    found = await read(path)
            assert found["process"] == os.getpid()


async def test_the_store_closes_while_a_client_is_connected(path: Path) -> None:
    """Whether it was accepted already or not, it does not wait for ever."""
    async with served(path):
        reader, writer = await asyncio.open_unix_connection(path)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert not path.exists()


async def test_a_forked_child_does_not_serve(path: Path) -> None:
    """A child that outlives its parent would keep clients waiting."""
    code = (
        "import asyncio, os, sys, time\n"
        "from kvwrap import MemoryStore, stack\n"
        "async def main():\n"
        f"    async with stack().statistics(socket={str(path)!r}).over(MemoryStore()):\n"
        "        if os.fork() == 0:\n"
        "            sys.stdin.read()\n"  # until the test has looked
        "        os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", code, stdin=asyncio.subprocess.PIPE
    )
    assert await process.wait() == 0
    refused = False
    while not refused:  # from the first moment of the child
        try:
            await read(path)
        except ConnectionRefusedError:
            refused = True
        except (ConnectionError, json.JSONDecodeError):
            pass
    async with served(path):
        assert (await read(path))["process"] == os.getpid()
    assert process.stdin is not None
    process.stdin.close()


async def test_a_configuration_names_the_socket(path: Path) -> None:
    from kvwrap import from_config

    async with from_config(
        {"store": "memory://", "layers": [{"type": "statistics", "socket": str(path)}]}
    ):
        assert (await read(path))["parts"] == ["Statistics", "MemoryStore"]
