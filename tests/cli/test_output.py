"""What commands print: no character of a backend's names steers the terminal."""

from __future__ import annotations

import asyncio
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kvwrap.cli
from kvwrap import InvalidValue, SQLiteStore, stack
from kvwrap.cli.main import main
from kvwrap.cli.output import echo, echo_json, echo_table, shown_name
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
    code = main(["rewrite", config, "--batch", "1", "--state", str(tmp_path / NAME / "state")])
    assert code == 2
    assert main(["rewrite", config, "--batch", "1"]) == (1 if keys == "other" else 0)
    captured = capsys.readouterr()
    assert "OWNED" in captured.out
    assert "OWNED" in captured.err
    for char in captured.out + captured.err:
        assert char.isprintable() or char == "\n"


def test_commands_print_with_nothing_else() -> None:
    for path in Path(kvwrap.cli.__file__).parent.glob("*.py"):
        if path.name != "output.py":
            assert "print(" not in path.read_text(), path


def test_json_is_exact_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    value = {NAME: ["\x7f\x9b\U000e0001", b"ab", datetime(2026, 11, 29, tzinfo=UTC)]}
    echo_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == {NAME: ["\x7f\x9b\U000e0001", "YWI=", "2026-11-29T00:00:00Z"]}
    assert all(char.isprintable() or char == "\n" for char in out)
    with pytest.raises(InvalidValue, match="of type object"):
        echo_json(object())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, "(default)"),
        ("(default)", "'(default)'"),
        ("a b", "a b"),
        (" a", "' a'"),
        ("a\nb", "'a\\nb'"),
        ('"a"', "'\"a\"'"),
    ],
)
def test_names_can_be_told_apart(name: str | None, shown: str) -> None:
    assert shown_name(name) == shown


@pytest.mark.usefixtures("terminal")
def test_a_table_has_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("name", "#count"), [(NAME, 12_345), ("[b]x[/b]", 0.5)])
    out = capsys.readouterr().out
    assert "12,345" in out
    assert "0.500" in out
    assert "[b]x[/b]" in out
    assert "OWNED" in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)  # of the table itself, for its title
    assert all(char.isprintable() or char == "\n" for char in plain)


def test_a_table_has_tabs_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("name", "#count"), [("a\tb", 12_345), (None, "two\nlines")])
    assert capsys.readouterr().out == "name\tcount\na\\tb\t12345\n\ttwo lines\n"
