"""The wheel that users install: its content, requirements and metadata."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import kvwrap
from kvwrap.core.registry import STORES

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "kvwrap").rglob("*.py"))


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def content(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def info(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        return archive.read(path).decode()


@pytest.fixture
def metadata(wheel: Path) -> Message:
    return Parser().parsestr(info(wheel, "METADATA"))


def requirements(metadata: Message, extra: str = "") -> dict[str, Requirement]:
    """Return the requirements with this extra, or without any."""
    every = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    base = {r.name for r in every if r.marker is None}
    return {
        r.name: r
        for r in every
        if (r.marker is None or r.marker.evaluate({"extra": extra}))
        and (not extra or r.name not in base)
    }


def test_it_contains_the_whole_package_and_nothing_else(wheel: Path) -> None:
    found = content(wheel)
    assert "kvwrap/py.typed" in found
    assert {path for path in found if path.endswith(".py")} == {
        str(path.relative_to(ROOT)) for path in SOURCES
    }
    tops = {path.split("/")[0] for path in found}
    assert tops == {"kvwrap", f"kvwrap-{wheel.name.split('-')[1]}.dist-info"}


def test_the_source_archive_has_what_its_tests_need(tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        found = {name.partition("/")[2] for name in opened.getnames()}
    folders = ("kvwrap", "tests", "docs", "examples", "benchmarks", "scripts")
    sources = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".toml", ".typed")
    }
    others = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"}
    others |= {"pyproject.toml", "mkdocs.yml", "dashboards/kvwrap.json"}
    assert sources | others <= found


def test_its_metadata(metadata: Message, wheel: Path) -> None:
    assert metadata["Name"] == "kvwrap"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert info(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    assert "kvwrap = kvwrap.__main__:main" in info(wheel, "entry_points.txt")


def test_its_requirements_are_bounded_and_used(metadata: Message) -> None:
    needed = requirements(metadata)
    assert set(needed) == {
        "cachetools", "cryptography", "msgspec", "orjson", "ormsgpack", "zstandard",
    }  # fmt: skip
    imported = {name for path in SOURCES for name in imports(path)}
    assert set(needed) <= imported
    for extra in metadata.get_all("Provides-Extra", []):
        needed |= requirements(metadata, extra)
    for requirement in needed.values():
        assert any(spec.operator in (">=", "==", "~=") for spec in requirement.specifier)


def imports(path: Path) -> set[str]:
    """Return the packages that a source imports, at any level."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_extra_called_all_is_all_of_them(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"redis", "prometheus", "opentelemetry", "all"} <= extras
    each = [set(requirements(metadata, extra)) for extra in extras - {"all"}]
    assert all(each)
    assert set(requirements(metadata, "all")) == set().union(*each)


def test_extras_named_in_errors_install_what_is_missing(metadata: Message) -> None:
    pairs = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need"
            for keyword in node.keywords if named else ():  # type: ignore[attr-defined]  # a call
                if keyword.arg == "extra":
                    pairs.add((path.name, keyword.value.value))  # type: ignore[attr-defined]  # a constant
    assert len(pairs) >= 5
    # As the wheel writes it: pip before 23.3 finds no extra under another spelling.
    provided = set(metadata.get_all("Provides-Extra", []))
    for _, extra in pairs:
        assert extra in provided
        assert requirements(metadata, extra), extra


def test_the_wheel_works_without_installation(wheel: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
import asyncio, kvwrap
assert kvwrap.__file__.startswith({str(wheel)!r}), kvwrap.__file__
keyring = kvwrap.Keyring({{"k": kvwrap.Keyring.generate_key()}})
store = (
    kvwrap.stack().statistics().read_through(kvwrap.MemoryStore()).compress().encrypt(keyring)
    .over(kvwrap.SQLiteStore({str(tmp_path / "a.db")!r}))
)
async def main():
    async with store:
        await store.put("a", {{"b": [1]}}, ttl=60)
        print(await store.get("a"))
asyncio.run(main())
"""
    assert run("-c", code) == "{'b': [1]}\n"


def test_the_version_is_that_of_the_package(metadata: Message, wheel: Path) -> None:
    assert kvwrap.__version__ == metadata["Version"]
    code = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
import kvwrap
assert "importlib.metadata" not in sys.modules
print(kvwrap.__version__)
assert vars(kvwrap)["__version__"] == kvwrap.__version__
"""
    assert run("-c", code).strip() == metadata["Version"]
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        kvwrap.no_such_name  # type: ignore[attr-defined]  # what is to be refused


def test_every_public_name_exists() -> None:
    for name in kvwrap.__all__:
        assert getattr(kvwrap, name) is not None
    assert {"redis", "sqlite", "memory"} <= set(STORES)


def test_the_readme_begins_with_a_summary_and_an_example() -> None:
    # That the snippet runs is tested with those of the documentation.
    title, what, snippet, *_ = re.split(r"\n\n+", (ROOT / "README.md").read_text(), maxsplit=3)
    assert title == "# kvwrap"
    assert "key-value stores from layers" in what
    assert snippet.startswith("```python\n")
    assert "from kvwrap import" in snippet
