"""The examples run as a reader would run them, each in a separate process."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, timeout: int = 100) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_layered_store(tmp_path: Path) -> None:
    printed = run("examples.layered_store", str(tmp_path / "sessions.db"))
    assert "ada has visited 60 pages" in printed
    assert "session of nobody: None" in printed
    assert "user names are readable only in keys" in printed


def test_encryption_is_added_to_a_redis_that_holds_plain_data(redis_url: str) -> None:
    printed = run("examples.encrypt_existing_redis", redis_url)
    assert "'email': 'user7@example.org'" in printed
    assert "rewrite: " in printed
    assert "kvwrap_operations" in printed
    assert "plain entries are now refused" in printed


def test_a_tiered_cache_is_shared_by_two_processes(redis_url: str) -> None:
    printed = run("examples.tiered_cache", redis_url)
    assert printed.count("sees the new price") == 2


def test_a_graph_goes_on_after_a_restart(tmp_path: Path) -> None:
    printed = run("examples.langgraph_memory", str(tmp_path / "agents.db"))
    assert "asked: order chamomile tea?" in printed
    assert "after a restart: chamomile tea is ordered" in printed
    assert "remembered: [{'item': 'chamomile tea'}]" in printed
    assert "readable in the file: False" in printed


def test_two_caches_in_one_file(tmp_path: Path) -> None:
    printed = run("examples.cached_flask", str(tmp_path / "cache.db"))
    assert printed.count("computed once: page 1: tea") == 2
    assert "page 1: tea; from the client's cache: False" in printed
    assert "page 1: tea; from the client's cache: True" in printed
    assert "readable in the file: False" in printed


@pytest.mark.timeout(320)
def test_workers_share_sessions_and_responses(redis_url: str) -> None:
    printed = run("examples.starlette_shop", redis_url, timeout=300)
    assert "one price for all: True" in printed
    assert "kvwrap; hit" in printed
    assert "the login renewed the id: True" in printed
    assert "21 products, 2 workers, user ada" in printed
    assert "health: ok" in printed
    assert "metrics: True" in printed


@pytest.mark.timeout(560)
def test_replicas_of_a_fastmcp_server_share_logins(redis_url: str) -> None:
    printed = run("examples.fastmcp_replicas", redis_url, timeout=540)
    assert printed.count("ada is logged in") == 10
    assert "one forecast for both replicas: True" in printed
    assert "3 entries rewritten; no longer needed: ['2025']" in printed
    assert printed.count("keys: ['2026'], primary: 2026") == 2


@pytest.mark.parametrize("name", ["fastmcp_replicas", "starlette_shop"])
def test_an_example_tells_that_its_server_is_away(name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens to nobody
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        result = subprocess.run(
            [sys.executable, "-m", f"examples.{name}", url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert result.returncode == 1
    assert "cannot be reached" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", ["own-redis", "redis", "sqlite"])
def test_the_demo(kind: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    printed = run("examples.demo", "--reads", "4000", "--backend", kind)
    assert "all equal" in printed
    served = re.search(r"([\d,]+) of them served by the fallback", printed)
    assert served is not None
    assert int(served[1].replace(",", "")) > 0
    assert "until the backend was tried again" in " ".join(printed.split())
    assert re.search(r"breaker\.state[\s│]+closed", printed)
    assert re.search(r"of 800 reads, backend stopped +800 answered +0 answered", printed)
    assert "\x1b" not in printed, "there is no terminal"
    assert max(map(len, printed.splitlines())) <= 80
    paths = re.findall(r"^(docs/\S+\.md)", printed, re.MULTILINE)
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_demo_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--reads", "400", "--backend", "sqlite"],
        cwd=ROOT,
        env={**environment, "TERM": "xterm-256color", "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(ours, 65_536):
            parts.append(part)
    os.close(ours)
    printed = b"".join(parts).decode()
    assert process.wait(timeout=60) == 0, printed
    assert "\x1b[32mall equal" in printed
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed)
    assert "reading, backend stopped" in plain
    widths = [len(piece) for line in plain.splitlines() for piece in line.split("\r")]
    assert max(widths) <= 80
