"""What `import kvwrap` and quick commands load, and what they leave for its first use."""

from __future__ import annotations

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
"""What `import kvwrap` does not load, apart from drivers, and from all stores but a few."""

STORES = {"memory", "null", "shared"}
"""The folders of `kvwrap.stores` that it loads."""


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


def test_stores_are_loaded_when_they_are_used(plain: set[str]) -> None:
    stores = {name.split(".")[2] for name in plain if name.startswith("kvwrap.stores.")}
    assert stores <= STORES
    assert "kvwrap.stores.sqlite.store" in loaded("from kvwrap import SQLiteStore")


@pytest.mark.parametrize("name", NEVER)
def test_what_few_programs_use_is_not_loaded(name: str, plain: set[str]) -> None:
    assert not {each for each in plain if each == name or each.startswith(f"{name}.")}


def test_drivers_are_not_loaded(plain: set[str]) -> None:
    drivers = {"redis", "lmdb", "asyncpg", "aiobotocore", "botocore", "pymongo", "nats", "grpclib"}
    drivers |= {"elasticsearch", "opensearchpy", "obstore", "aiohttp"}
    assert not drivers & plain


def test_the_version_needs_no_commands() -> None:
    after = loaded("from kvwrap.cli.main import main\nassert main(['--version']) == 0")
    assert not {"cyclopts", "rich", "kvwrap.cli.entries"} & after


def test_every_public_name_is_there() -> None:
    assert {name for name in kvwrap.__all__ if getattr(kvwrap, name, None) is None} == set()
    assert {*kvwrap.__all__, "__version__"} <= set(dir(kvwrap))
    assert "kvwrap.stores.lmdb.store" in loaded("from kvwrap import *\nassert LMDBStore")


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="MemoryStroe"):
        _ = kvwrap.MemoryStroe  # type: ignore[attr-defined]
