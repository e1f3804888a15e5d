"""Commands that read, on what is not there: nothing is created, and they fail."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kvwrap.testing.servers import PostgreSQLServer, SharedServers
from tests.cli.conftest import Run

READING = [
    ("get", "k"),
    ("ttl", "k"),
    ("expire", "k", "5"),
    ("delete", "k", "--yes"),
    ("delete", "--all", "--yes"),
    ("keys",),
    ("collections",),
    ("count",),
    ("watch", "--limit", "1"),
    ("export",),
    ("rewrite",),
    ("inspect",),
]
SCHEMES = ["sqlite", "lmdb", "file-tree"]


def _url(scheme: str, tmp_path: Path, name: str = "data") -> str:
    return (
        f"{scheme}:///{tmp_path}/{name}" if scheme == "sqlite" else f"{scheme}://{tmp_path}/{name}"
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_creates_nothing(
    scheme: str, words: tuple[str, ...], tmp_path: Path, run: Run
) -> None:
    name, *others = words
    result = run(name, _url(scheme, tmp_path), *others)
    assert result.code == 2
    assert result.out == ""
    assert str(tmp_path / "data") in result.err
    assert "must exist" in result.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_copy_creates_its_target_and_not_its_source(
    scheme: str, tmp_path: Path, run: Run
) -> None:
    source, target = _url(scheme, tmp_path), _url(scheme, tmp_path, "target")
    assert run("copy", source, target).code == 2
    assert {each.name for each in tmp_path.iterdir()} == {"stdin"}
    assert run("put", source, "k", "1").code == 0
    assert run("copy", source, target).code == 0
    assert run("get", target, "k").out == "1\n"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_backend_that_is_not_there_yet_is_no_failure(
    scheme: str, tmp_path: Path, run: Run
) -> None:
    result = run("check", _url(scheme, tmp_path), "--json")
    assert result.code == 0
    (checked,) = json.loads(result.out)["checks"]
    assert checked["mend"] is None
    assert str(tmp_path / "data") in checked["to_come"]
    assert not (tmp_path / "data").exists()
    assert "\tnot there yet\t" in run("check", _url(scheme, tmp_path)).out


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_backend_whose_folder_is_missing_is_to_be_mended(
    scheme: str, tmp_path: Path, run: Run
) -> None:
    result = run("check", _url(scheme, tmp_path, "missing/data"), "--json")
    assert result.code == 1
    (checked,) = json.loads(result.out)["checks"]
    assert "missing/data" in checked["mend"]
    assert checked["to_come"] is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_backend_in_a_folder_that_is_only_read_is_to_be_mended(
    scheme: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked for, since root may write to a folder of any mode.
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    assert run("check", _url(scheme, tmp_path)).code == 1


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_creates_no_table(
    words: tuple[str, ...], run: Run, servers: SharedServers
) -> None:
    # The other stores on servers are among the contract tests of `creates`.
    name, *others = words
    url = f"{servers.url(PostgreSQLServer)}?table=misspelt&notify=true"
    result = run(name, url, *others)
    assert result.code == 2
    assert result.out == ""
    assert "the table 'misspelt' of PostgreSQL at 127.0.0.1" in result.err
    assert "must exist to be read" in result.err
    checked = run("check", url)
    assert checked.code == 0
    assert "\tnot there yet\t" in checked.out


@pytest.mark.parametrize(
    "layer",
    [
        'type = "read_through"\nttl = 5\nnear',
        'type = "fallback"\nother',
        'type = "fallback"\nwrites = "both"\nother',
        'type = "shadow"\nother',
    ],
)
def test_copies_that_are_not_there_are_done_without(layer: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "kvwrap.toml"
    file.write_text(
        'silence = ["near-not-nearer"]\n' * ("near" in layer)
        + f'store = "sqlite:///data.db"\n[[layers]]\n{layer} = "sqlite:///second.db"\n'
    )
    assert run("put", f"sqlite:///{tmp_path}/data.db", "a", "1").code == 0
    for words, out in (
        (("get", str(file), "a"), "1\n"),
        (("keys", str(file)), "a\n"),
        (("count", str(file)), "1\n"),
        (("expire", str(file), "a", "100"), ""),
        (("delete", str(file), "a", "--yes"), "1 deleted\n"),
    ):
        result = run(*words)
        assert (result.code, result.out) == (0, out), result.err
    checked = run("check", str(file)).out
    assert re.search(r"second\.db'\tnot there yet\t", checked)
    assert not (tmp_path / "second.db").exists()


@pytest.mark.parametrize("layer", ["route", "replicate"])
def test_places_of_entries_that_are_not_there_are_told(
    layer: str, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "kvwrap.toml"
    others = 'routes = { "x*" = "sqlite:///second.db" }'
    if layer == "replicate":
        others = 'replicas = ["sqlite:///second.db", "sqlite:///third.db"]'
    file.write_text(f'store = "sqlite:///data.db"\n[[layers]]\ntype = "{layer}"\n{others}\n')
    assert run("put", f"sqlite:///{tmp_path}/data.db", "a", "1").code == 0
    result = run("get", str(file), "a")
    assert result.code == 2
    assert f"'{tmp_path}/second.db' must exist" in result.err
    assert not (tmp_path / "second.db").exists()


def test_the_nearest_file_is_suggested(tmp_path: Path, run: Run) -> None:
    assert run("put", f"sqlite:///{tmp_path}/sessions.db", "k", "1").code == 0
    result = run("get", f"sqlite:///{tmp_path}/session.db", "k")
    assert f"Did you mean '{tmp_path}/sessions.db'?" in result.err


def test_a_file_of_another_program_gets_no_table(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE customers (name)")
    before = path.read_bytes()
    result = run("count", f"sqlite:///{path}")
    assert result.code == 2
    assert f"the table 'kvwrap' of the SQLite file '{path}' must exist to be read" in result.err
    # An application may keep its entries in a file that has its own tables, and create them later.
    checked = run("check", f"sqlite:///{path}")
    assert checked.code == 0
    assert "\tnot there yet\t" in checked.out
    assert path.read_bytes() == before


def test_limits_in_a_url_change_no_file_that_is_only_read(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "unlimited.db"
    assert run("put", f"sqlite:///{path}", "key", "1").code == 0

    def objects() -> set[str]:
        with closing(sqlite3.connect(path)) as file:
            return {name for (name,) in file.execute("SELECT name FROM sqlite_schema")}

    before = objects()
    for command in (("count",), ("get", "key")):
        result = run(command[0], f"sqlite:///{path}?max_entries=10", *command[1:])
        assert result.code == 0, result.err
    assert objects() == before
    assert not list(tmp_path.glob("*-uses"))
    # A command that writes keeps the limits, as an application does.
    assert run("put", f"sqlite:///{path}?max_entries=10", "key", "2").code == 0
    assert objects() > before


def test_a_table_of_another_program_is_to_be_mended(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE kvwrap (name)")
    for url in (f"sqlite:///{path}", f"sqlite:///{path}?table=KVWRAP"):
        assert run("count", url).code == 2
        assert run("check", url).code == 1


def test_shards_must_be_there_and_a_near_store_need_not(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "kvwrap.toml"
    config.write_text(
        """
        [shards]
        store = "sqlite:///first.db"
        layers = [{ type = "shard", shards = { b = "sqlite:///second.db" }, name = "a" }]

        [near]
        store = "sqlite:///first.db"
        silence = ["near-not-nearer"]
        layers = [{ type = "read_through", ttl = 5, near = "sqlite:///near.db" }]
        """
    )
    assert run("put", f"sqlite:///{tmp_path}/first.db", "k", "1").code == 0
    result = run("count", f"{config}#shards")
    assert result.code == 2, result.out
    assert "second.db" in result.err
    result = run("get", f"{config}#near", "k")
    assert result.out == "1\n", result.err


def test_a_file_of_sqlite_and_a_folder_of_lmdb_are_known(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url, path in (("sqlite:///my app.db", "my app.db"), (f"lmdb://{tmp_path}/data", "data")):
        assert run("put", url, "k", "1").code == 0
        result = run("explain", path)
        assert result.code == 2
        meant = result.err.partition("did you mean ")[2].rstrip("?\n")
        assert run("get", meant, "k").out == "1\n", result.err
    (tmp_path / "other").mkdir()
    assert "did you mean" not in run("explain", "other").err
