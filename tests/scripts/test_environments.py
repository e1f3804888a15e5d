"""`python -m scripts.environments`, without installing anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts import environments
from scripts.environments import ENVIRONMENTS, Environment

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class Commands:
    """Records commands instead of running them.

    Attributes:
        failing: A word of the commands that fail.
    """

    def __init__(self) -> None:
        self.recorded: list[list[str]] = []
        self.failing = "no such word"

    def run(self, command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        self.recorded.append(words)
        if "venv" in words:
            Path(words[-1]).mkdir(parents=True, exist_ok=True)
        failed = self.failing in words
        if failed and options.get("check"):
            raise subprocess.CalledProcessError(1, words)
        return subprocess.CompletedProcess(words, int(failed), stdout=f"{VERSION}\n")

    def having(self, word: str) -> list[list[str]]:
        return [command for command in self.recorded if word in command]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    commands = Commands()
    monkeypatch.setattr(environments.subprocess, "run", commands.run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return commands


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    environment = Environment("one", "", "a-group", ("tests/some",))
    monkeypatch.setattr(environments, "ENVIRONMENTS", (environment,))
    return environment


def test_an_environment_is_installed_once(commands: Commands, environment: Environment) -> None:
    assert environments.main([]) == 0
    assert len(commands.having("venv")) == 1
    assert commands.having("a-group")[0][-2:] == ["--group", "a-group"]
    assert environments.main(["one", "--options=-x -n 1"]) == 0
    assert len(commands.having("venv")) == 1
    assert commands.recorded[-1][-4:] == ["tests/some", "-x", "-n", "1"]


def test_an_installation_that_failed_is_repeated(
    commands: Commands, environment: Environment
) -> None:
    commands.failing = "a-group"
    with pytest.raises(subprocess.CalledProcessError):
        environments.main([])
    commands.failing = ""
    assert environments.main([]) == 0
    assert len(commands.having("venv")) == 2


def test_failed_tests_are_reported_with_their_environment(
    commands: Commands, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.failing = "pytest"
    assert environments.main([]) == 1
    assert "tests failed in one" in capsys.readouterr().err


def test_a_missing_python_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert environments.run(Environment("python3.99", "3.99", "test", ())) == 0
    assert capsys.readouterr().out == (
        "python3.99 is skipped: it is neither on the PATH nor under pyenv\n"
    )


def test_a_python_that_does_not_run_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shims, real = tmp_path / "shims", tmp_path / f"versions/{VERSION}.1/bin"
    for folder in (shims, real):
        folder.mkdir(parents=True)
    (shims / f"python{VERSION}").write_text("#!/bin/sh\nexit 127\n")
    (shims / f"python{VERSION}").chmod(0o755)
    (real / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{shims}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert environments.find_python(VERSION) == str(real / "python")
    assert environments.find_python("") == sys.executable


def test_environments_are_chosen_by_name(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        environments.main(["python2"])
    assert "no such environment: python2; there are python3.12" in capsys.readouterr().err
    assert commands.recorded == []


def test_every_folder_of_tests_exists() -> None:
    for environment in ENVIRONMENTS:
        for argument in environment.tests:
            if argument.startswith("tests/"):
                assert (environments.ROOT / argument).exists()
