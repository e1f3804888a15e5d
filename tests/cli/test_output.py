"""What commands print: no character of a backend's names steers the terminal."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

import kvwrap.cli
from kvwrap import SQLiteStore, stack
from kvwrap.cli.main import main
from kvwrap.cli.output import echo
from tests.rewriting.entries import OLD

NAME = "\x1b]0;OWNED\x07\x1b[2J\u202etxt"


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="ascii")
    echo("Zürich\x1b[2J\n", file=stream)
    assert shown.getvalue() == b"Z\\xfcrich\\x1b[2J\n\n"


@pytest.mark.parametrize("keys", ["old", "other"])
def test_reports_progress_and_errors_have_no_control_characters(
    config: str,
    tmp_path: Path,
    keys: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(tmp_path / "store.db")) as store:
            await store.put_many([NAME, "k"], [1, 2], collection=NAME)

    asyncio.run(prepare())
    if keys == "other":
        monkeypatch.setenv("TEST_REWRITE_KEYS", f"other:{'A' * 43}=")
    monkeypatch.setattr("kvwrap.cli.rewrite._PROGRESS_INTERVAL", 0)
    code = main(["rewrite", config, "--batch", "1", "--state", str(tmp_path / NAME / "state")])
    assert code == 2
    assert main(["rewrite", config, "--batch", "1"]) == (1 if keys == "other" else 0)
    captured = capsys.readouterr()
    assert "OWNED" in captured.out
    assert "OWNED" in captured.err
    for char in captured.out + captured.err.replace("\r", ""):
        assert char.isprintable() or char == "\n"


def test_commands_print_with_nothing_else() -> None:
    for path in Path(kvwrap.cli.__file__).parent.glob("*.py"):
        if path.name != "output.py":
            assert "print(" not in path.read_text(), path


def test_the_progress_line_replaces_itself(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kvwrap.cli.rewrite._PROGRESS_INTERVAL", 0)
    path = config.removesuffix("store.toml") + "store.db"

    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(path)) as store:
            await store.put_many(["a", "b"], [1, 2], collection="c")

    asyncio.run(prepare())
    assert main(["rewrite", config, "--batch", "1"]) == 0
    lines = capsys.readouterr().err.split("\r")
    assert lines[0] == ""
    assert lines[2].startswith("2 seen, 2 rewritten, ")
    assert lines[2].rstrip().endswith("in 'c'")
