"""`kvwrap get`, `put`, `delete`, `ttl`, `expire` and `increment`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kvwrap import SQLiteStore, stack
from tests.cli.conftest import Run


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/entries.db"


def test_a_value_is_put_and_got(url: str, run: Run) -> None:
    assert run("put", url, "ada", '{"visits": 1}', "-c", "users", "--ttl", "15m").code == 0
    result = run("get", url, "ada", "-c", "users")
    assert (result.code, json.loads(result.out), result.err) == (0, {"visits": 1}, "")
    described = json.loads(run("get", url, "ada", "--collection", "users", "--json").out)
    assert 0 < described.pop("ttl") <= 900
    assert described == {"key": "ada", "collection": "users", "value": {"visits": 1}}
    assert run("get", url, "ada").code == 1


@pytest.mark.parametrize("seconds", ["90", "90s", "1.5m", "0.025h"])
def test_a_ttl_has_units(seconds: str, url: str, run: Run) -> None:
    run("put", url, "k", "1", "--ttl", seconds)
    assert 0 < float(run("ttl", url, "k").out) <= 90


@pytest.mark.parametrize(
    ("form", "content", "printed"),
    [
        ("json", b'"h\xc3\xa9\\n"', b'"h\xc3\xa9\\n"\n'),
        ("text", b"h\xc3\xa9\x1b\n", b"h\xc3\xa9\x1b\n"),
    ],
)
def test_a_value_comes_from_standard_input(
    form: str, content: bytes, printed: bytes, url: str, run: Run
) -> None:
    assert run("put", url, "k", "--format", form, stdin=content).code == 0
    assert run("get", url, "k", "--format", form).out.encode() == printed


def test_bytes_are_written_as_they_are(tmp_path: Path, url: str, run: Run) -> None:
    result = run("put", url, "k", "--format", "bytes", stdin=b"ab\x00c")
    assert result.code == 2  # JSON cannot hold them
    config = tmp_path / "bytes.toml"
    config.write_text(f'store = "{url}"\n[[layers]]\ntype = "serialize"\nserializer = "msgpack"\n')
    assert run("put", str(config), "k", "--format", "bytes", stdin=b"ab\x00c").code == 0
    assert run("get", str(config), "k", "--format", "bytes").out == "ab\x00c"
    assert json.loads(run("get", str(config), "k").out) == "YWIAYw=="


def test_bytes_are_not_shown_on_a_terminal(tmp_path: Path, run: Run, terminal: None) -> None:
    config = tmp_path / "bytes.toml"
    config.write_text(
        f'store = "sqlite:///{tmp_path}/b.db"\n'
        '[[layers]]\ntype = "serialize"\nserializer = "msgpack"\n'
    )
    run("put", str(config), "k", "--format", "bytes", stdin=b"\x1b[2J")
    result = run("get", str(config), "k", "--format", "bytes")
    assert result.code == 2
    assert "not shown on a terminal" in result.err
    assert not result.out


def test_what_a_terminal_would_obey_is_escaped(url: str, run: Run, terminal: None) -> None:
    run("put", url, "k", json.dumps({"\x1b[2J": "\u202eé\x9b"}))
    out = run("get", url, "k").out
    assert json.loads(out) == {"\x1b[2J": "\u202eé\x9b"}
    assert "é" in out
    assert out.count("\n") == 3  # on lines of its own
    run("put", url, "t", "--format", "text", stdin=b"\x1b[2J")
    assert run("get", url, "t", "--format", "text").out == "\\x1b[2J\n"


def test_a_dash_is_standard_input_and_a_minus_is_a_number(url: str, run: Run) -> None:
    assert run("put", url, "k", "-", "--ttl", "60", stdin=b"7").code == 0
    assert run("get", url, "k").out == "7\n"
    assert run("put", url, "k", "-5").code == 0
    assert run("get", url, "k").out == "-5\n"
    assert run("put", url, "--format", "text", "--", "-k", "--text").code == 0
    assert run("get", url, "--", "-k").out == '"--text"\n'
    assert run("put", url, "--", "-", "1").code == 0
    assert run("keys", url, "--prefix=-").out == "-\n-k\n"


def test_a_value_that_is_not_json_is_refused(url: str, run: Run) -> None:
    result = run("put", url, "k", "hello")
    assert result.code == 2
    assert "--format text" in result.err
    assert "hello" not in result.err
    assert run("put", url, "k", "--format", "text", stdin=b"\xff").code == 2
    run("put", url, "k", "[1]")
    assert "--format text needs a value of type str" in run("get", url, "k", "--format", "text").err


def test_put_can_keep_what_is_there(url: str, run: Run) -> None:
    assert run("put", url, "k", "1", "--if-absent").code == 0
    result = run("put", url, "k", "2", "--if-absent")
    assert result.code == 1
    assert "was kept" in result.err
    assert run("get", url, "k").out == "1\n"


def test_null_is_a_value(url: str, run: Run) -> None:
    run("put", url, "k", "null")
    result = run("get", url, "k")
    assert (result.code, result.out) == (0, "null\n")
    assert run("ttl", url, "k").out == "none\n"


def test_entries_are_deleted(url: str, run: Run) -> None:
    for key in ("a1", "a2", "b", "c"):
        run("put", url, key, "1")
    assert run("delete", url, "b", "zzz", "--yes").out == "1 deleted\n"
    assert run("delete", url, "--prefix", "a", "-y", "--json").out == '{"deleted": 2}\n'
    assert run("keys", url).out == "c\n"
    assert run("delete", url, "--all", "--yes").code == 0
    assert run("delete", url, "--all", "--yes").code == 1
    for arguments in ([], ["k", "--all"], ["k", "--prefix", "p"], ["--all", "--prefix", "p"]):
        assert run("delete", url, *arguments, "--yes").code == 2


def test_a_deletion_asks(url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("put", url, "k", "1")
    result = run("delete", url, "k")
    assert result.code == 2
    assert "--yes" in result.err
    monkeypatch.setattr("kvwrap.cli.input.is_terminal", lambda stream: True)
    result = run("delete", url, "k", stdin=b"n\n")
    assert result.code == 1
    assert "delete 'k' in the default collection? [y/N]" in result.err
    assert run("get", url, "k").code == 0
    assert run("delete", url, "k", stdin=b"y\n").code == 0
    assert run("get", url, "k").code == 1


def test_expiry_is_changed(url: str, run: Run) -> None:
    run("put", url, "k", "1")
    assert run("expire", url, "k", "1h").code == 0
    assert 3_500 < json.loads(run("ttl", url, "k", "--json").out)["ttl"] <= 3_600
    assert run("expire", url, "k", "none").code == 0
    assert run("ttl", url, "k").out == "none\n"
    assert run("expire", url, "missing", "1h").code == 1
    assert run("ttl", url, "missing").code == 1


def test_a_count_is_incremented(url: str, run: Run) -> None:
    assert run("increment", url, "n").out == "1\n"
    assert run("increment", url, "n", "-5").out == "-4\n"
    assert run("increment", url, "m", "2", "--initial", "10", "--ttl", "60").out == "12\n"
    run("put", url, "s", '"text"')
    assert run("increment", url, "s").code == 2


def test_a_value_that_only_python_can_use_is_refused(tmp_path: Path, run: Run) -> None:
    async def prepare() -> None:
        pickled = stack().serialize("pickle").silence("pickle-unprotected")
        async with pickled.over(SQLiteStore(tmp_path / "p.db")) as store:
            await store.put("k", object)

    asyncio.run(prepare())
    config = tmp_path / "pickle.toml"
    config.write_text(
        f'store = "sqlite:///{tmp_path}/p.db"\nsilence = ["pickle-unprotected"]\n'
        '[[layers]]\ntype = "serialize"\nserializer = "pickle"\n'
    )
    assert "python=True" in run("get", str(config), "k").err
    result = run("get", str(config), "k", "--python")
    assert result.code == 2
    assert "pickle" in result.err
