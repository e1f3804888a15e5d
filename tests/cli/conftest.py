"""Configuration files for the tests of commands, and a way to run these in the process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kvwrap import SQLiteStore, sync
from kvwrap.cli.main import main
from tests.rewriting.entries import NEW


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a configuration: SQLite in `store.db`, encrypted with keys of the environment."""
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    path = tmp_path / "store.toml"
    path.write_text(
        f"""
        store = "sqlite:///{tmp_path}/store.db"

        [[layers]]
        type = "encrypt"
        keyring = {{ env = "TEST_REWRITE_KEYS" }}
        """
    )
    _create(tmp_path / "store.db")
    return str(path)


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a configuration of two stacks, `sessions`, which is encrypted, and `plain`."""
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    path = tmp_path / "kvwrap.toml"
    path.write_text(
        f"""
        [sessions]
        store = "sqlite:///{tmp_path}/sessions.db"

        [[sessions.layers]]
        type = "compress"

        [[sessions.layers]]
        type = "encrypt"
        keyring = {{ env = "TEST_REWRITE_KEYS" }}

        [plain]
        store = "sqlite:///{tmp_path}/plain.db"
        """
    )
    _create(tmp_path / "sessions.db")
    _create(tmp_path / "plain.db")
    return str(path)


def _create(path: Path) -> None:
    """Create an SQLite file without entries, which commands that read would not."""
    with sync(SQLiteStore(path)):
        pass


class Result(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Provide a function that runs a command with these arguments, and this standard input."""

    def run_command(*arguments: str, stdin: bytes | None = None) -> Result:
        given = tmp_path / "stdin"
        given.write_bytes(stdin or b"")
        with given.open(encoding="utf-8") as opened, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", opened)
            code = main(arguments)
        return Result(code, *capsys.readouterr())

    return run_command


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Make the outputs those of a terminal of 80 columns, without colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    # As a class, since the capturing of outputs replaces the objects.
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)
