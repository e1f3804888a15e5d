"""Where things are: which room may import which, one layer a file, no file too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvwrap
from kvwrap.core.registry import ADAPTERS, LAYERS, STORES

PACKAGE = Path(kvwrap.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

LONGEST = 400
"""Lines of a module."""

KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    # parts of layers
    "coalescing": {"core"},
    "compression": {"core", "kinds"},
    "counting": {"core"},
    "journal": {"core", "resilience", "several"},
    "keyring": {"core"},
    "legacy": {"core"},
    "resilience": {"core"},
    "several": {"core", "resilience"},
    "tiers": {"core"},
    # layers
    "kinds": {"core", "several"},
    "layers": {
        *("core", "kinds", "coalescing", "compression", "counting", "journal", "keyring"),
        *("legacy", "resilience", "several", "tiers"),
    },
    # stores
    "backends": {"core"},
    "stores": {"core", "backends"},
    # what stacks are used through
    "views": {"core"},
    "stack": {"core", "layers"},
    "config": {"core", "keyring", "stack"},
    "metrics": {"core", "counting", "layers"},
    "rewriting": {"core", "kinds"},
    "rewrite": {"core", "kinds", "layers", "rewriting"},
}
"""What each folder and each file beside them may import; `errors` is everybody's."""

EVERYTHING = {"__init__", "__main__", "testing"}
"""Those that may import everything, and that nobody imports."""

LATE = {
    "core/registry.py": "stores and layers know the registry, which gives them back by name",
    "testing/plugin.py": "a plugin is loaded by every pytest, also where nobody uses kvwrap",
}
"""Modules that import a part of kvwrap inside of functions, and why."""


def room(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """The modules of kvwrap that a syntax tree imports, `kvwrap` itself as `__init__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            package = node.module or ""
            inside = [f"{package}.{alias.name}" for alias in node.names]
            names = [name for name in inside if is_module(name)] or [package]
        else:
            continue
        for name in names:
            if name == "kvwrap":
                yield node, "__init__"
            elif name.startswith("kvwrap."):
                yield node, name.removeprefix("kvwrap.")


def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return name.startswith("kvwrap.") and (path.is_dir() or path.with_suffix(".py").is_file())


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in MODULES}


def test_every_room_is_in_the_table() -> None:
    assert {room(name) for name in MODULES} == {*KNOWS, *EVERYTHING}


def test_rooms_know_only_those_that_they_may(trees: dict[str, ast.Module]) -> None:
    wrong = []
    for name, tree in trees.items():
        own = room(name)
        if own in EVERYTHING:
            continue
        for node, imported in imports(tree):
            other = imported.partition(".")[0]
            if other not in {own, "errors", *KNOWS[own]}:
                wrong.append(f"kvwrap/{name}:{node.lineno} imports kvwrap.{imported}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_circle_and_nothing_idle(trees: dict[str, ast.Module]) -> None:
    settled: set[str] = set()
    while left := set(KNOWS) - settled:
        free = {own for own in left if KNOWS[own] <= settled}
        assert free, f"these know one another: {sorted(left)}"
        settled |= free
    used = {
        (room(name), imported.partition(".")[0])
        for name, tree in trees.items()
        for _, imported in imports(tree)
    }
    idle = [(own, other) for own, known in KNOWS.items() for other in known - {"errors"}]
    assert [pair for pair in idle if pair not in used] == []


def test_imports_stand_at_the_top(trees: dict[str, ast.Module]) -> None:
    late = set()
    for name, tree in trees.items():
        top = {node for node in tree.body if not isinstance(node, ast.If)}
        top |= {node for outer in tree.body if isinstance(outer, ast.If) for node in outer.body}
        late |= {name for node, _ in imports(tree) if node not in top}
    assert late == set(LATE)


def test_no_layer_imports_another(trees: dict[str, ast.Module]) -> None:
    for name, tree in trees.items():
        if room(name) == "layers":
            others = [imported for _, imported in imports(tree) if imported.startswith("layers.")]
            assert not others, f"kvwrap/{name} imports {others}"


@pytest.mark.parametrize(("folder", "table"), [("layers", LAYERS), ("stores", STORES)])
def test_every_layer_and_store_has_a_file_of_its_own(folder: str, table: dict[str, str]) -> None:
    classes = set(table.values())
    files = [path.partition(":")[0].removeprefix(f"kvwrap.{folder}.") for path in classes]
    known = {f"{folder}/{file}.py" for file in files}
    if folder == "layers":
        known.add("layers/passthrough.py")  # the one that `.layer()` is for
    else:
        known |= {f"stores/{path.partition(':')[0].rpartition('.')[2]}.py" for path in ADAPTERS}
    assert len(set(files)) == len(files), "one file, one class"
    assert {name for name in MODULES if room(name) == folder} == known | {f"{folder}/__init__.py"}


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_too_long(name: str) -> None:
    assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) <= LONGEST
