"""`CONTRIBUTING.md` shows the folders and modules of the package as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_structure import KNOWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
UNLISTED = {"kvwrap/testing/contract"}
"""Folders whose modules the tree does not list."""


def tree() -> dict[str, set[str]]:
    """Return the names that the tree lists, by folder."""
    block = re.search(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    folders: dict[str, set[str]] = {}
    path: list[str] = []
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names, _, description = line.strip().partition("  ")
        del path[depth:]
        if names.endswith("/"):
            path.append(names.removesuffix("/"))
            folders["/".join(path[:-1])] = folders.get("/".join(path[:-1]), set()) | {names}
            # The description may end with modules, which end it: "what it is: one two".
            listed = description.strip().rpartition(":")[2].split()
            folders["/".join(path)] = {
                name for name in listed if (ROOT.joinpath(*path) / f"{name}.py").is_file()
            }
        else:
            folders["/".join(path)] |= {name.removesuffix(".py") for name in names.split()}
    return folders


def existing(folder: Path) -> set[str]:
    modules = {path.stem for path in folder.glob("*.py")}
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    return modules | packages


def test_the_tree_shows_every_folder_and_module() -> None:
    for folder, names in tree().items():
        if folder and folder not in UNLISTED:
            unlisted = {"__init__"} if folder != "kvwrap" else set()
            assert names == existing(ROOT / folder) - unlisted, folder
    folders = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("kvwrap/**/__init__.py")}
    assert set(tree()) - {""} == folders


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.(?:py|md|toml|yml))`", PAGE))))
def test_every_file_that_is_named_exists(path: str) -> None:
    if "your_" not in path:
        candidates = [ROOT / path, ROOT / "kvwrap" / path, *ROOT.glob(f"kvwrap/**/{path}")]
        assert any(candidate.is_file() for candidate in candidates)


def test_the_table_of_imports_is_the_one_that_is_tested() -> None:
    rows = re.findall(r"^\| (`[\w`, ]+) \| (.+) \|$", PAGE, re.MULTILINE)
    table = {
        folder: set(re.findall(r"`(\w+)`", imported)) - {"encryption"}
        for folders, imported in rows
        for folder in re.findall(r"`(\w+)`", folders)
    }
    del table["testing"]
    assert table == {
        folder: imported - {"errors"} if folder != "core" else imported
        for folder, imported in KNOWS.items()
        if folder != "errors"
    }
