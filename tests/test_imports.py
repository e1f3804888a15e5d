"""What `import kvwrap` and quick commands load, and what they leave for its first use."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kvwrap

ROOT = Path(__file__).parents[1]
NEVER = (
    "kvwrap.cli",
    "kvwrap.integrations",
    "kvwrap.testing",
    "kvwrap.core.drawing",
    "cryptography",
    "zstandard",
    "pydantic",
    "cyclopts",
    "rich",
    "importlib.metadata",
    "email",
    "http",
)
"""What no public name loads before it is used."""


def loaded(code: str) -> set[str]:
    """Return the modules that a new interpreter has after some code."""
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep=chr(10))"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(result.stdout.splitlines())


@pytest.fixture(scope="module")
def plain() -> set[str]:
    """Return the modules after `import kvwrap`."""
    return loaded("import kvwrap")


@pytest.fixture(scope="module")
def everything() -> set[str]:
    """Return the modules after all public names were used."""
    return loaded("from kvwrap import *\nassert LMDBStore")


def test_nothing_but_errors_is_loaded_before_it_is_used(plain: set[str]) -> None:
    assert {name for name in plain if name.startswith("kvwrap")} == {"kvwrap", "kvwrap.errors"}


def test_a_program_loads_the_stores_that_it_uses() -> None:
    after = loaded("from kvwrap import SQLiteStore, Keyring, from_config, stack, sync")
    stores = {name.split(".")[2] for name in after if name.startswith("kvwrap.stores.")}
    assert stores == {"shared", "sqlite"}


@pytest.mark.parametrize("name", NEVER)
def test_what_few_programs_use_is_not_loaded(name: str, everything: set[str]) -> None:
    assert not {each for each in everything if each == name or each.startswith(f"{name}.")}


def test_drivers_are_not_loaded(everything: set[str]) -> None:
    drivers = {"redis", "lmdb", "asyncpg", "aiobotocore", "botocore", "pymongo", "nats", "grpclib"}
    drivers |= {"elasticsearch", "opensearchpy", "obstore", "aiohttp"}
    assert not drivers & everything


def test_the_version_needs_no_commands() -> None:
    after = loaded("from kvwrap.cli.main import main\nassert main(['--version']) == 0")
    assert not {"cyclopts", "rich", "kvwrap.builder", "kvwrap.core.store"} & after


def test_every_public_name_is_there(everything: set[str]) -> None:
    declared = _declared()
    assert declared == set(kvwrap.__all__)
    assert all(getattr(kvwrap, name) is not None for name in declared)
    assert {*declared, "__version__", "layers"} <= set(dir(kvwrap))
    assert "kvwrap.stores.lmdb.store" in everything


def _declared() -> set[str]:
    """Return `__all__` as type checkers see it."""
    (block,) = (
        each
        for each in ast.parse(Path(kvwrap.__file__).read_text(encoding="utf-8")).body
        if isinstance(each, ast.If)
    )
    (names,) = (
        ast.literal_eval(each.value)
        for each in block.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__"
    )
    return {*names, *kvwrap.layers.__all__}


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="MemoryStroe"):
        _ = kvwrap.MemoryStroe  # type: ignore[attr-defined]
