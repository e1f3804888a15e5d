"""The commands of `docs/operations.md` run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import Keyring, from_config

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ kvwrap (.+)$", PAGE, re.MULTILINE)


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the page's file, over a store with some entries."""
    (described,) = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE)
    (tmp_path / "store.toml").write_text(described)
    monkeypatch.setenv("SESSION_KEYS", Keyring.generate("2026").reveal_text())
    monkeypatch.chdir(tmp_path)
    async with from_config(tmp_path / "store.toml") as store:
        await store.put_many(["ada", "bob"], [1, 2], collection="users")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kvwrap", *command.split()],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 2
