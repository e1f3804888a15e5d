"""`kvwrap top`: of a process by its socket, and of a store."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.cli.live import Figure, Reading, changes_of, operations_of
from kvwrap.layers.statistics.histogram import Latency
from tests.cli.conftest import Run
from tests.cli.programs import program

_SERVES = """\
import asyncio, sys
from kvwrap import MemoryStore, stack

async def main():
    layers = stack().statistics("sessions", socket=sys.argv[1]).circuit_breaker()
    async with layers.over(MemoryStore()) as store:
        await store.put("a", 1, collection="us\\x1bers")
        await store.get_many(["a", "b"], collection="us\\x1bers")
        for number in range(20):
            await store.get("a", collection=f"a-collection-with-a-long-name-of-a-service-{number}")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kvwrap-") as name:
        yield Path(name)


@pytest.fixture
def path(folder: Path) -> Iterator[str]:
    """The socket of another process."""
    path = str(folder / "s.sock")
    with subprocess.Popen(
        [sys.executable, "-c", _SERVES, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield path


def test_a_process_is_shown_by_its_socket(path: str, run: Run) -> None:
    result = run("top", path, "--once")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("sessions: process ")
    assert "Statistics > CircuitBreaker > MemoryStore" in result.out
    names = "layer\tcollection\toperation\t/s\tcalls\t% hits\tp50 us\tp99 us\terrors"
    assert names in result.out.splitlines()
    numbers = r"^Statistics\tus\\x1bers\tread\t\t1\t50\.0\t\d+\.\d\t\d+\.\d\t0$"
    assert re.search(numbers, result.out, re.MULTILINE)
    assert "CircuitBreaker\tbreaker.state closed\t1\t\t\n" in result.out
    assert "MemoryStore\tentries\t1\t\tentry\n" in result.out
    found = json.loads(run("top", path, "--once", "--json").out)
    assert found["operations"][0]["collection"] == "us\x1bers"


def test_a_process_is_shown_on_a_terminal(path: str, run: Run, terminal: None) -> None:
    out = re.sub(r"\x1b\[[0-9;]*m", "", run("top", path, "--once").out)
    assert "\nus\\x1bers " in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_live_table_fits_a_small_terminal(path: str) -> None:
    """Neither a long name nor many rows take it beyond 80 columns and 24 lines."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    command = program("top", path, "--interval", "0.05")
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        out = b""
        while out.count(b"breaker.state") < 3:
            out += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 65536):
                out += more
    os.close(ours)
    assert process.returncode == 130
    # Rich goes back to the first line of a reading before it writes the next one.
    frames = re.split(r"sessions: process", out.decode())[1:]
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in frames]
    lines = plain[-1].split("kvwrap: interrupted")[0].splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    assert any(re.match(r"and \d+ more", line) for line in lines), "how many rows are left out"
    assert any("…" in line for line in lines), "names are cut off, however wide the numbers are"


def test_lines_of_json_come_until_ctrl_c(path: str) -> None:
    with subprocess.Popen(
        program("top", path, "--json", "--interval", "0.05"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["parts"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err


def test_the_socket_of_a_configuration_is_found(path: str, folder: Path, run: Run) -> None:
    file = folder / "kvwrap.toml"
    file.write_text(f'store = "memory://"\n[[layers]]\ntype = "statistics"\nsocket = "{path}"\n')
    assert "Statistics > CircuitBreaker > MemoryStore" in run("top", str(file), "--once").out
    file.write_text(file.read_text().replace("s.sock", "{pid}.sock"))
    assert run("top", str(file), "--once").code == 3
    (folder / "1.sock").write_text("no socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "2.sock"))
    assert run("top", str(file), "--once").code == 3
    Path(path).rename(folder / "3.sock")
    assert "Statistics > CircuitBreaker > MemoryStore" in run("top", str(file), "--once").out
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "4.sock"))
        other.listen()
        result = run("top", str(file), "--once")
    assert result.code == 2
    assert f": {folder}/3.sock, {folder}/4.sock\n" in result.err


def test_a_store_is_opened_and_checked(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    assert run("put", url, "a", "1").code == 0
    out = run("top", url, "--once").out
    assert "Statistics > SQLiteStore" in out
    assert "Statistics\t(default)\tping\t\t1\t" in out

    async def fail(store: MemoryStore) -> None:
        raise StoreUnavailable("the backend does not respond")

    monkeypatch.setattr(MemoryStore, "ping", fail)
    result = run("top", "memory://", "--once")
    assert result.code == 0
    assert "not available: the backend does not respond" in result.out


@pytest.mark.parametrize("sent", [b"", b"{}\n", b"\xff\n", b"[" * 10_000 + b"\n"])
def test_what_is_no_stack_is_told(sent: bytes, folder: Path, run: Run) -> None:
    path = str(folder / "other.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("top", path, "--once")
        thread.join()
    assert result.code == (2 if sent else 3)
    assert path in result.err
    assert run("top", path, "--once").code == 3, "nobody serves there now"


def reading(seconds: float, hits: int, buckets: tuple[tuple[int, int], ...]) -> Reading:
    labels = {"collection": "", "operation": "read"}

    def figure(name: str, value: float | Latency, more: dict[str, str] | None = None) -> Figure:
        return Figure("s", "Statistics", name, "counter", "1", {**labels, **(more or {})}, value)

    return Reading(
        1,
        seconds,
        None,
        ["Statistics"],
        [
            figure("operations", hits + 10),
            figure("hits", hits),
            figure("misses", 10),
            figure("errors", 2, {"error": "StoreTimeout"}),
            figure("operation.duration", Latency(1.0, buckets)),
            Figure("s", "ReadThrough", "near.hits", "counter", "1", {}, hits),
            Figure("s", "ReadThrough", "near.fills", "counter", "1", {}, 0),
        ],
    )


def test_rates_and_latencies_are_those_since_the_reading_before() -> None:
    first, second = reading(10, 10, ((50, 20),)), reading(12, 40, ((50, 20), (100, 30)))
    (whole,) = operations_of(first, None)
    assert (whole.calls, whole.rate, whole.hit_rate, whole.errors) == (20, None, 0.5, 2)
    (since,) = operations_of(second, first)
    assert (since.calls, since.rate, since.hit_rate) == (50, 15, 1)
    assert since.p50 > whole.p50 * 5
    (change,) = changes_of(second, first)
    assert (change.name, change.value, change.rate) == ("near.hits", 40, 15)
    (reset,) = operations_of(first, second)
    assert (reset.calls, reset.rate) == (20, None)


def test_the_event_loop_is_not_needed_to_end(path: str, run: Run) -> None:
    """Several readers at a time are served."""

    async def several() -> list[int]:
        async def one() -> int:
            reader, writer = await asyncio.open_unix_connection(path)
            length = len(await reader.read())
            writer.close()
            await writer.wait_closed()
            return length

        return await asyncio.gather(*[one() for _ in range(4)])

    assert all(asyncio.run(several()))
