"""The command line without a command, and with a wrong one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kvwrap.cli.main import main


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert "a command is required" in captured.err
    for command in ("keygen", "rewrite", "inspect"):
        assert f"  {command} " in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rewrit", "store.toml"], "unknown command, 'rewrit': did you mean 'rewrite'?"),
        (["zzz"], "inspect, keygen, rewrite"),
        (["rewrite"], "config"),
        (["--verbose"], "COMMAND"),
        (["--"], "COMMAND"),
        (["keygen", "--algorithm", "rot13"], "aes-256-gcm"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "missing.toml"]) == 2
    assert "missing.toml" in capsys.readouterr().err


def test_the_package_is_a_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "kvwrap", "--help"], capture_output=True, text=True, check=True
    )
    assert "keygen" in run.stdout
