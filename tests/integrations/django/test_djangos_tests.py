"""Django's own tests of caches and sessions, from its source archive, over stacks."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

from kvwrap.testing.servers.programs import server_cache

ROOT = Path(__file__).parents[3]
ARCHIVES = server_cache().parent / "sources"
"""A folder outside of the clone, in which archives stay."""

NEEDED = [["tests", "cache"], ["tests", "sessions_tests"]]
"""Folders of the archive, which has ten thousand files."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The source archive of the installed Django, which has its tests."""
    name = f"django-{django.__version__}.tar.gz"
    there = ARCHIVES / name
    if not there.exists():
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "django"),
                *("--dest", str(tmp_path), f"django=={django.__version__}"),
            ],
            capture_output=True,
            check=False,
            timeout=100,
        )
        if done.returncode or not (tmp_path / name).exists():
            pytest.skip("the source archive of Django cannot be downloaded")
        ARCHIVES.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).replace(there)
    return there


@pytest.mark.parametrize(("location", "least"), [("sqlite", 190), ("orm", 119)])
def test_they_pass(location: str, least: int, archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as opened:
        wanted = [each for each in opened if each.name.split("/")[1:3] in NEEDED]
        opened.extractall(tmp_path, wanted, filter="data")
    (folder,) = tmp_path.glob("django-*/tests")
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.django.djangos_tests", str(folder), location],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    count = re.search(r"Ran (\d+) tests", done.stderr)
    assert count is not None
    assert int(count[1]) >= least
