"""Fixtures of the tests of FileTreeStore."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a tree, which does not exist yet."""
    return tmp_path / "tree"
