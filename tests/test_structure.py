"""Layout: which room imports which, and where the parts of layers and stores are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvwrap
from kvwrap.builder import LAYERS
from kvwrap.core.registry import ADAPTERS, STORES

ROOT = Path(__file__).parents[1]
PACKAGE = Path(kvwrap.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts").rglob("*.py"))

LONGEST = 400
"""Lines of a module."""

LONGEST_TEST = 500
"""Lines of a test file."""

LONGEST_SCRIPT = 300
"""Lines of a script."""

# From the lowest floor to the highest: a room may import its own row's `knows`, and itself.
KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    "keyring": {"core"},
    "stores": {"core"},
    "layers": {"core", "keyring"},
    "builder": {"core", "layers"},
    "rewriting": {"core", "layers"},
    "copying": {"core", "rewriting"},
    "config": {"core", "keyring", "builder"},
    "views": {"core", "config"},
    "integrations": {"core", "keyring", "layers", "stores", "builder", "config", "views"},
    "cli": {"core", "keyring", "layers", "rewriting", "copying", "config", "integrations"},
}
"""What each folder and each file beside them imports; `errors` is everybody's."""

EVERYTHING = {"__init__", "__main__", "testing"}
"""Rooms that may import everything; only `testing` is imported, by nobody but itself."""

SHARED = {"base", "shared"}
"""Rooms within `layers/` and `stores/` that are neither a layer nor a store."""

LATE = {
    "__main__.py": "Ctrl-C while modules are loaded ends quietly",
    "core/explain.py": "few programs draw their stack, and XML takes time to import",
    "testing/plugin.py": "a plugin is loaded by every pytest, also where nobody uses kvwrap",
}
"""Modules that import a part of kvwrap inside of functions, and why."""

KNOW_KEYS = {"layers/encryption/layer.py"}
"""The layers that know the keyring."""

SUBCLASSES: set[tuple[str, str]] = {("stores/valkey", "stores/redis")}
"""Layers and stores that may import another one."""


def room(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


def owner(module: str) -> str:
    """The folder within `layers/` or `stores/`, or the module there: `layers/retry`."""
    return "/".join(module.removesuffix(".py").split("/")[:2])


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the modules of kvwrap that a syntax tree imports, `kvwrap` itself as `__init__`."""
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


def module_path(name: str) -> str:
    """The file of a module of kvwrap, of a package its `__init__`."""
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if (PACKAGE / path).is_dir() else f"{path}.py"


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in MODULES}


def test_every_room_is_in_the_table() -> None:
    assert {room(name) for name in MODULES} == {*KNOWS, *EVERYTHING}


def test_no_room_imports_upward(trees: dict[str, ast.Module]) -> None:
    floors = list(KNOWS)
    assert all(set(floors[:floor]) >= KNOWS[own] for floor, own in enumerate(floors))
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


def test_the_table_has_nothing_idle(trees: dict[str, ast.Module]) -> None:
    used = {
        (room(name), imported.partition(".")[0])
        for name, tree in trees.items()
        for _, imported in imports(tree)
    }
    idle = [(own, other) for own, known in KNOWS.items() for other in known - {"errors"}]
    assert [pair for pair in idle if pair not in used] == []


def test_no_import_circle(trees: dict[str, ast.Module]) -> None:
    graph = {
        name: {module_path(imported) for _, imported in imports(tree)} - {name}
        for name, tree in trees.items()
    }
    state: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            pytest.fail("import circle: " + " > ".join([*trail[trail.index(name) :], name]))
        if not state.get(name):
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            state[name] = True

    for name in graph:
        visit(name, ())


def test_threads_are_those_of_one_module(trees: dict[str, ast.Module]) -> None:
    """Executors of the standard library fill up, and refuse work or delay the end of a program."""
    wrong = [
        f"kvwrap/{name}:{node.lineno} uses {used}"
        for name, tree in trees.items()
        if name != "core/threads.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        for used in [node.attr if isinstance(node, ast.Attribute) else node.id]
        if used in {"to_thread", "ThreadPoolExecutor", "ProcessPoolExecutor"}
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_stand_at_the_top(trees: dict[str, ast.Module]) -> None:
    late = set()
    for name, tree in trees.items():
        top = {node for node in tree.body if not isinstance(node, ast.If)}
        top |= {node for outer in tree.body if isinstance(outer, ast.If) for node in outer.body}
        late |= {name for node, _ in imports(tree) if node not in top}
    assert late == set(LATE)


@pytest.mark.parametrize("folder", ["layers", "stores"])
def test_layers_and_stores_import_no_other(folder: str, trees: dict[str, ast.Module]) -> None:
    wrong = []
    for name, tree in trees.items():
        if room(name) != folder or "/" not in name.removeprefix(f"{folder}/__init__"):
            continue
        own = owner(name)
        for node, imported in imports(tree):
            other = owner(module_path(imported))
            if room(module_path(imported)) != folder or other == own:
                continue
            if other.rpartition("/")[2] in SHARED or (own, other) in SUBCLASSES:
                continue
            wrong.append(f"kvwrap/{name}:{node.lineno} imports kvwrap.{imported}")
    assert not wrong, "\n".join(wrong)


def test_base_and_shared_know_no_layer_or_store(trees: dict[str, ast.Module]) -> None:
    for name, tree in trees.items():
        if owner(name).rpartition("/")[2] in SHARED:
            for _, imported in imports(tree):
                other = owner(module_path(imported))
                assert room(other) in {"core", "errors"} or other.rpartition("/")[2] in SHARED


@pytest.mark.parametrize("folder", ["layers", "stores"])
def test_what_is_shared_has_two_users(folder: str, trees: dict[str, ast.Module]) -> None:
    users: dict[str, set[str]] = {}
    for name, tree in trees.items():
        for _, imported in imports(tree):
            path = module_path(imported)
            if path.startswith(f"{folder}/shared/"):
                users.setdefault(path, set()).add(owner(name))
    shared = {
        name
        for name in MODULES
        if name.startswith(f"{folder}/shared/") and not name.endswith("__init__.py")
    }
    for name in shared:
        package = Path(name).parent.name
        if package != "shared":  # the parts of a shared package belong to it as a whole
            inside = f"{folder}/shared/{package}/"
            found = {
                user
                for path, each in users.items()
                if path.startswith(inside)
                for user in each
                if user != f"{folder}/shared"
            }
        else:
            found = users.get(name, set())
        assert len(found) > 1, f"kvwrap/{name} is used by {found}: move it there"


def test_an_authors_import_is_enough(trees: dict[str, ast.Module]) -> None:
    wrong = []
    for name, tree in trees.items():
        single = room(name) == "layers" and name.count("/") == 1
        packaged = room(name) == "layers" and name.endswith("/layer.py")
        if not (single or packaged) or name == "layers/__init__.py":
            continue
        own = owner(name).replace("/", ".")
        for node, imported in imports(tree):
            allowed = (own, "layers.base", "layers.shared", "errors")
            known = imported.startswith(allowed) or (
                name in KNOW_KEYS and imported.startswith("keyring")
            )
            if not known or imported.startswith("layers.base."):
                wrong.append(f"kvwrap/{name}:{node.lineno} imports kvwrap.{imported}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["layers", "stores"])
def test_every_name_in_the_folder_is_a_layer_or_store(folder: str) -> None:
    if folder == "layers":
        paths = {layer.__module__ for layer in LAYERS.values()}
        paths.add("kvwrap.layers.passthrough")  # the one that `.layer()` is for
    else:
        paths = {path.partition(":")[0] for path in (*STORES.values(), *ADAPTERS)}
    names = {path.split(".")[2] for path in paths}
    assert len(names) == len(paths), "one place, one class"
    found = {path.stem for path in (PACKAGE / folder).iterdir() if not path.name.startswith("_")}
    assert found - SHARED == names
    for path in paths:
        _, _, name, *rest = path.split(".")
        packaged = (PACKAGE / folder / name).is_dir()
        assert rest == ([folder.removesuffix("s")] if packaged else []), path


def test_a_package_is_more_than_its_class() -> None:
    for folder in ("layers", "stores"):
        for path in (PACKAGE / folder).iterdir():
            if path.is_dir() and not path.name.startswith("_"):
                assert len(list(path.rglob("*.py"))) > 2, f"{path.name} needs no folder"


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_too_long(name: str) -> None:
    assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_is_too_long(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= LONGEST_SCRIPT


@pytest.mark.parametrize("name", TESTS)
def test_no_test_file_is_too_long(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= LONGEST_TEST


WHOLE = {"parity", "contract", "docs", "plugin_package", "scripts", "stacks", "typing"}
"""Folders of tests that are about no one room."""


def test_tests_mirror_the_package() -> None:
    for name in TESTS:
        parts = Path(name).parts[1:-1]
        if parts and parts[0] not in WHOLE:
            place = PACKAGE.joinpath(*parts)
            assert place.is_dir() or place.with_suffix(".py").is_file(), (
                f"{name} stands where kvwrap has nothing"
            )
    for folder in ("layers", "stores"):
        for path in sorted((PACKAGE / folder).iterdir()):
            if path.name.startswith("_") or path.stem in {*SHARED, "passthrough", "null"}:
                continue
            tests = ROOT / "tests" / folder
            there = (tests / path.name) if path.is_dir() else tests / f"test_{path.stem}.py"
            assert there.exists(), f"{there.relative_to(ROOT)} is missing"


def test_tests_reach_into_nothing_private() -> None:
    found = []
    for name in TESTS:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        own = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        own |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not node.attr.endswith("__")
                and node.attr not in {*own, "_exit", "_meta"}  # os._exit, models of Django
            ):
                found.append(f"{name}:{node.lineno} {node.attr}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kvwrap"):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                found += [f"{name}:{node.lineno} {each}" for each in private]
    assert not found, "\n".join(found)
