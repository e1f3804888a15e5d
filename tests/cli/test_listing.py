"""`kvwrap keys`, `collections` and `count`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

NAMES = ["a", "a\x1b[2J", "b\nc", " d", "é"]


@pytest.fixture
def url(tmp_path: Path, run: Run) -> str:
    url = f"sqlite:///{tmp_path}/listed.db"
    lines = [json.dumps({"key": name, "value": 1}) for name in NAMES]
    lines += [json.dumps({"collection": "u\x1bs", "key": "k", "value": 1})]
    assert run("import", url, stdin="\n".join(lines).encode()).code == 0
    return url


def test_keys_are_listed_one_on_a_line(url: str, run: Run) -> None:
    out = run("keys", url).out
    assert sorted(out.splitlines()) == sorted(["a", "'a\\x1b[2J'", "'b\\nc'", "' d'", "é"])
    names = [json.loads(line) for line in run("keys", url, "--json").out.splitlines()]
    assert sorted(names) == sorted(NAMES)
    assert run("keys", url, "--prefix", "é").out == "é\n"
    assert len(run("keys", url, "--limit", "2").out.splitlines()) == 2
    assert run("keys", url, "--limit", "0").out == ""
    assert "`--limit` must be" in run("keys", url, "--limit=-1").err
    assert run("keys", url, "-c", "u\x1bs").out == "k\n"


def test_collections_are_listed(url: str, run: Run) -> None:
    assert run("collections", url).out == "'u\\x1bs'\n"
    assert json.loads(run("collections", url, "--json").out) == "u\x1bs"
    assert (
        run("collections", url, "--count").out
        == "collection\tentries\n(default)\t5\n'u\\x1bs'\t1\n"
    )
    counts = [
        json.loads(line)
        for line in run("collections", url, "--count", "--json").out.split("\n")[:-1]
    ]
    assert counts == [{"collection": None, "count": 5}, {"collection": "u\x1bs", "count": 1}]


def test_people_get_a_table(url: str, run: Run, terminal: None) -> None:
    out = run("collections", url, "--count").out
    assert "entries" in out
    assert "───" in out
    assert "\x1bs" not in out


def test_entries_are_counted(url: str, run: Run) -> None:
    assert run("count", url).out == "5\n"
    assert run("count", url, "--prefix", "a").out == "2\n"
    assert json.loads(run("count", url, "--json").out) == {
        "collection": None,
        "prefix": "",
        "count": 5,
    }
