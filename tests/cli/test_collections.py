"""Commands with the name of a collection that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMANDS = [
    ("keys",),
    ("count",),
    ("get", "k"),
    ("ttl", "k"),
    ("expire", "k", "5"),
    ("delete", "--all", "--yes"),
    ("delete", "--prefix", "a", "--yes"),
    ("export",),
    ("rewrite",),
    ("inspect",),
]


@pytest.fixture
def url(tmp_path: Path, run: Run) -> str:
    url = f"sqlite:///{tmp_path}/app.db"
    assert run("put", url, "k", "1", "-c", "users").code == 0
    return url


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_nearest_one_is_named(words: tuple[str, ...], url: str, run: Run) -> None:
    name, *others = words
    result = run(name, url, *others, "-c", "user")
    assert result.code == 1
    assert "no collection user: did you mean 'users'?" in result.err
    assert result.out == ("0\n" if name == "count" else "")
    assert run("get", url, "k", "-c", "users").out == "1\n"


def test_nothing_is_written_then(url: str, tmp_path: Path, run: Run) -> None:
    there = {each.name for each in tmp_path.iterdir()}
    for words in (
        ("export", url, f"{tmp_path}/backup.jsonl"),
        ("copy", url, f"sqlite:///{tmp_path}/target.db"),
        ("copy", url, f"sqlite:///{tmp_path}/target.db", "-c", "users"),
    ):
        assert run(*words, "-c", "user").code == 1
    assert {each.name for each in tmp_path.iterdir()} <= there | {"app.db-wal", "app.db-shm"}
    assert run("copy", url, f"sqlite:///{tmp_path}/target.db", "-c", "users").code == 0


def test_a_prefix_without_entries_and_the_default_collection_are_no_mistakes(
    url: str, run: Run
) -> None:
    assert run("count", url, "-c", "users", "--prefix", "x") == (0, "0\n", "")
    assert run("count", url) == (0, "0\n", "")
    assert run("export", url, "-c", "").code == 0


def test_a_store_that_cannot_list_is_not_asked(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SECRET", "0123456789abcdef" * 2)
    config = tmp_path / "kvwrap.toml"
    config.write_text(
        'store = "sqlite:///app.db"\n'
        'layers = [{ type = "hash_keys", secret = { env = "TEST_SECRET" } }]\n'
    )
    assert run("put", str(config), "k", "1", "-c", "users").code == 0
    result = run("get", str(config), "k", "-c", "user")
    assert result.code == 1
    assert "no collection" not in result.err
