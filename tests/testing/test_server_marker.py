"""Tests that need a server: found at collection, skipped without it, or failed where required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow import SLOW, TESTS

ROOT = Path(__file__).parents[2]


def run(*arguments: str, folder: Path, **environment: str) -> str:
    """Run tests of this suite where no server is installed. Returns what pytest prints."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": "/nowhere",
            "XDG_CACHE_HOME": str(folder),
            "KVWRAP_REQUIRE_SERVERS": "",  # which CI sets
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return result.stdout


@pytest.mark.parametrize("test", ["contract/test_stores.py", "stores/redis/test_permissions.py"])
def test_one_line_says_what_is_missing(tmp_path: Path, test: str) -> None:
    printed = run(f"tests/{test}", "-k", "redis and (absent or acl)", folder=tmp_path)
    (line,) = [line for line in printed.splitlines() if line.startswith("SKIPPED")]
    assert "redis-server must be installed" in line
    assert "run `make servers` to install it" in line


def test_a_missing_server_fails_where_all_are_required(tmp_path: Path) -> None:
    printed = run(
        "tests/contract/test_stores.py",
        "-k",
        "redis and absent and Bare",
        folder=tmp_path,
        KVWRAP_REQUIRE_SERVERS="1",
    )
    assert "SKIPPED" not in printed
    assert "MissingServerError: redis-server must be installed" in printed


def test_tests_that_need_a_server_are_left_out_by_their_marker(tmp_path: Path) -> None:
    printed = run(
        "tests/contract/test_stores.py",
        "-k",
        "absent and Bare",
        "-m",
        "not server",
        folder=tmp_path,
    )
    assert "failed" not in printed
    assert "skipped" not in printed
    assert "deselected" in printed


def test_a_server_that_no_marker_announces_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it():\n    from kvwrap.testing import RedisServer\n    RedisServer().start()\n"
    )
    printed = run(
        *("-p", "tests.conftest", "-m", "not server", str(tmp_path / "test_it.py")),
        folder=tmp_path,
        PATH=os.environ["PATH"],
        PYTHONPATH=str(ROOT),
    )
    assert "redis-server was started by a test without the marker `server`" in printed
    assert "1 failed" in printed


def test_the_slow_modules_exist() -> None:
    assert [name for name in SLOW if not (TESTS / name).is_file()] == []
