"""The commands of `docs/operations.md` run as they stand there."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kvwrap
from kvwrap import Keyring, from_config
from kvwrap.core.figures import Figure, Measured

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


def declared() -> dict[str, Figure]:
    """Return the figures of kvwrap's own classes, by their names in Prometheus."""
    for module in pkgutil.walk_packages(kvwrap.__path__, "kvwrap."):
        if module.name.startswith(("kvwrap.core.", "kvwrap.layers.", "kvwrap.stores.")):
            importlib.import_module(module.name)
    found: dict[str, Figure] = {}
    classes: list[type[Measured]] = [Measured]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if cls.__module__.startswith("kvwrap."):
            found |= {figure.exported: figure for figure in cls.figures}
    return dict(sorted(found.items()))


def test_the_table_has_every_figure() -> None:
    wanted = [
        f"| `{name}` | {figure.kind} | {', '.join(f'`{each}`' for each in figure.labels)} "
        f"| {figure.text} |".replace("|  |", "| |")
        for name, figure in declared().items()
    ]
    assert re.findall(r"^\| `kvwrap_.*", PAGE, re.MULTILINE) == wanted, "\n".join(wanted)
