"""Answers of sockets that are not those of this user's processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kvwrap.cli.live import Figure, Reading, operations_of
from tests.cli.conftest import Result, Run

_LABELS = {"collection": "c", "operation": "read"}


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-") as folder:
        yield Path(folder) / "s.sock"


def figure(name: str, value: object) -> dict[str, Any]:
    return {
        "stack": "s",
        "layer": "l",
        "name": name,
        "kind": "counter",
        "unit": "1",
        "labels": _LABELS,
        "value": value,
    }


def answer(*figures: dict[str, Any]) -> bytes:
    content = {"process": 1, "time": 1.0, "seconds": 1.0, "parts": ["A"], "figures": figures}
    return json.dumps(content).encode() + b"\n"


def shown(path: Path, sent: bytes, run: Run) -> Result:
    """Return what `top` shows of a process that gives this answer."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client, suppress(ConnectionError):
                client.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("top", str(path), "--once")
        thread.join()
    return result


@pytest.mark.parametrize("bucket", [[10**12, 5], [-400, 5], [3, -5], [3, 10**400]])
def test_latencies_that_cannot_be_are_refused(bucket: list[int], path: Path, run: Run) -> None:
    latency = {"seconds": 1.0, "buckets": [[1, 6], bucket]}
    sent = answer(figure("operations", 1), figure("operation.duration", latency))
    result = shown(path, sent, run)
    assert (result.code, result.out) == (2, "")
    assert "must give figures" in result.err


@pytest.mark.parametrize(
    "wrong",
    [
        [figure("errors", 1e308), figure("errors", 1e308)],
        [figure("hits", {"buckets": []}), figure("misses", {"buckets": []})],
        [figure("near.hits", -1e300)],
    ],
)
def test_figures_that_cannot_be_are_refused(
    wrong: list[dict[str, Any]], path: Path, run: Run
) -> None:
    result = shown(path, answer(figure("operations", 1), *wrong), run)
    assert (result.code, result.out) == (2, "")
    assert "must give figures" in result.err


def test_an_answer_without_end_is_refused(path: Path, run: Run) -> None:
    result = shown(path, b"[" * 40 * 2**20, run)
    assert result.code == 2
    assert "must give figures" in result.err


class Label(str):
    """A label that counts how often it is compared or hashed."""

    __slots__ = ()
    uses = 0

    def __eq__(self, other: object) -> bool:
        Label.uses += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Label.uses += 1
        return str.__hash__(self)


def test_operations_are_counted_in_proportion_to_the_answer() -> None:
    def uses(count: int) -> int:
        def one(name: str, number: int, more: dict[str, str]) -> Figure:
            labels = {"collection": Label(number), "operation": "read", **more}
            return Figure("s", "l", name, "counter", "1", labels, 2.0)

        figures = [one("operations", number, {}) for number in range(count)]
        figures += [one("errors", number, {"error": "x"}) for number in range(count)]
        figures += [one("errors", number, {"error": "y"}) for number in range(count)]
        reading = Reading(1, 1.0, None, ["A"], figures)
        Label.uses = 0
        assert {each.errors for each in operations_of(reading, None)} == {4}
        return Label.uses

    assert uses(200) < 3 * uses(100)


_SERVES = """\
import os, socket, sys
path, user, sent = sys.argv[1:]
if user:
    os.setgid(int(user))
    os.setuid(int(user))
with socket.socket(socket.AF_UNIX) as server:
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen()
    print("ready", flush=True)
    while True:
        client, _ = server.accept()
        with client:
            try:
                client.sendall(sent.encode())
            except OSError:
                pass
"""


def test_what_another_user_serves_is_refused(
    path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root makes a process of another user; who is not root is made another one."""
    is_root = os.geteuid() == 0
    user = 65534 if is_root else os.geteuid()
    path.parent.chmod(0o777)
    sent = answer(figure("operations", 1)).decode()
    words = [str(path), str(user) if is_root else "", sent]
    with subprocess.Popen(
        [sys.executable, "-c", _SERVES, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if not is_root:
                monkeypatch.setattr(os, "geteuid", lambda: user + 1)
            result = run("top", str(path), "--once")
            assert (result.code, result.out) == (2, "")
            assert f"that of user {user}: run the command as that user" in result.err
            if is_root:
                os.chown(path.parent, user, -1)
            else:
                monkeypatch.setattr(os, "geteuid", lambda: 0)
            assert run("top", str(path), "--once").code == 0, "root looks into the user's folder"
        finally:
            process.kill()
