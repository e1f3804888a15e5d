"""Imports: the modules that `import kvwrap` loads, and missing optional packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kvwrap import ConfigurationError
from kvwrap.core.optional import need

UNWANTED = (
    "aiolimiter",
    "brotli",
    "cryptography",
    "key_value",
    "lmdb",
    "lz4",
    "opentelemetry",
    "prometheus_client",
    "purgatory",
    "pydantic",
    "pytest",
    "redis",
    "stamina",
    "tenacity",
    "zstandard",
)


@pytest.mark.parametrize("module", ["kvwrap", "kvwrap.testing"])
def test_importing_loads_no_driver_and_no_optional_package(module: str) -> None:
    code = (
        f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "kvwrap" in loaded
    assert "zipfile" not in loaded, "importlib.metadata is imported where it is used"
    assert not set(UNWANTED) & set(loaded)


def test_a_missing_package_is_named_with_the_extra_that_installs_it() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"Thing needs .*'no_such_package'.*the extra 'more' \(pip install '\.\[more\]'",
    ):
        need("no_such_package.inner", extra="more", wanted_by="Thing")
    assert need("json", extra="more", wanted_by="Thing").loads("1") == 1
