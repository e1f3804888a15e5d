"""A configuration file for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rewriting.entries import NEW


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a configuration: SQLite in `store.db`, encrypted with keys of the environment."""
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    path = tmp_path / "store.toml"
    path.write_text(
        f"""
        store = "sqlite:///{tmp_path}/store.db"

        [[layers]]
        type = "encrypt"
        keyring = {{ env = "TEST_REWRITE_KEYS" }}
        """
    )
    return str(path)
