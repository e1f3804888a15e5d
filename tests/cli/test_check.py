"""`kvwrap check` and `explain`."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from kvwrap import MemoryStore
from kvwrap.testing.servers.base import free_port
from tests.cli.conftest import Run


def test_every_stack_of_a_file_is_checked(stacks: str, run: Run) -> None:
    result = run("check", stacks)
    assert (result.code, result.err) == (0, "")
    head, *rows = [line.split("\t") for line in result.out.splitlines()]
    assert head == ["stack", "part", "result", "ms"]
    assert [row[0].rpartition("#")[2] for row in rows] == ["sessions", "sessions", "plain"]
    assert {row[2] for row in rows} == {"ok"}
    assert len(run("check", f"{stacks}#plain").out.splitlines()) == 2


def test_what_is_to_be_mended_is_told(
    stacks: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_REWRITE_KEYS")
    result = run("check", stacks)
    assert result.code == 1
    assert "TEST_REWRITE_KEYS must contain the keys" in result.out
    assert "plain" in result.out
    described = json.loads(run("check", stacks, "--json").out)
    assert not described["ok"]
    assert [bool(each["mend"]) for each in described["checks"]] == [True, False]


def test_second_stores_are_reached_too(tmp_path: Path, run: Run) -> None:
    port = free_port()
    config = tmp_path / "tiers.toml"
    config.write_text(
        f'store = "sqlite:///{tmp_path}/far.db"\n[[layers]]\ntype = "read_through"\n'
        f'near = "redis://user:hunter2@127.0.0.1:{port}/0"\nttl = 60\n'
    )
    result = run("check", str(config))
    assert result.code == 1
    assert f"127.0.0.1:{port}" in result.out
    assert "near: " in result.out
    assert "hunter2" not in result.out


def test_findings_are_things_to_mend(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text(
        'store = "memory://"\n[[layers]]\ntype = "timeout"\nseconds = 1\n'
        '[[layers]]\ntype = "retry"\n[[layers]]\ntype = "compress"\n'
    )
    result = run("check", str(config))
    assert result.code == 1
    assert "to mend" in result.out
    assert not result.err  # it is not also a warning
    explained = run("explain", str(config))
    assert explained.code == 0
    assert "! " in explained.out
    assert not explained.err


def test_a_missing_file_is_to_be_mended(run: Run) -> None:
    result = run("check", "missing.toml")
    assert result.code == 1
    assert "there is no file missing.toml" in result.out


def test_people_get_a_table(run: Run, terminal: None) -> None:
    out = run("check", "memory://").out
    assert "\nmemory://" in out
    assert "ok" in out


def test_long_lines_end_between_words_on_a_terminal(
    tmp_path: Path, run: Run, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths are never broken
    Path("kvwrap.toml").write_text(
        'store = "memory://"\n[[layers]]\ntype = "timeout"\nseconds = 5\n'
        '[[layers]]\ntype = "retry"\n[[layers]]\ntype = "read_through"\nttl = 60\n'
        'near = "memory://"\n'
    )
    for command in ("explain", "check"):
        out = re.sub(r"\x1b\[[0-9;]*m", "", run(command, "kvwrap.toml").out)
        assert "so it covers all attempts and waits together: a first" in " ".join(out.split())
        assert max(map(len, out.splitlines())) <= 80
    error = run("get", "redis://localhost?unknown=1&and=2", "k").err
    assert error.count("\n") > 1
    assert max(map(len, error.splitlines())) <= 80


def test_a_stack_is_explained(stacks: str, run: Run) -> None:
    out = run("explain", f"{stacks}#sessions").out
    assert out.startswith("Compression()\n└─ Encryption(")
    assert "can: " in out
    described = json.loads(run("explain", f"{stacks}#sessions", "--json").out)
    assert [part["name"] for part in described["parts"]] == [
        "Compression",
        "Encryption",
        "SQLiteStore",
    ]
    assert "keys" in described["capabilities"]


def test_a_backend_that_does_not_answer_is_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(store: MemoryStore) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(MemoryStore, "ping", hang)
    result = run("check", "memory://", "--timeout", "0.01")
    assert result.code == 1
    assert "no answer in 0.01 s" in result.out


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_the_time_limit_is_checked(seconds: str, run: Run) -> None:
    assert "`--timeout` must be" in run("check", "memory://", "--timeout", seconds).err


def test_a_wrong_key_is_to_be_mended(
    stacks: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"{stacks}#sessions"
    assert run("put", store, "ada", '"secret words"', "--collection", "users").code == 0
    checked = run("check", store)
    assert checked.code == 0
    assert "a sample of entries (1)\tok" in checked.out
    monkeypatch.setenv("TEST_REWRITE_KEYS", f"other:{'A' * 43}=")
    result = run("check", store)
    assert result.code == 1
    assert "a sample of entries (1)\tto mend" in result.out
    assert "which the keyring does not have" in result.out
    assert "secret words" not in result.out


def test_the_sample_renews_nothing(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "sliding.toml"
    config.write_text(
        f'store = "sqlite:///{tmp_path}/sliding.db"\n'
        'layers = ["compress", { type = "slide_ttl", ttl = 1000 }]\n'
    )
    assert run("put", str(config), "k", "1").code == 0
    assert run("expire", str(config), "k", "300").code == 0
    result = run("check", str(config))
    assert "a sample of entries (1)\tok" in result.out
    remaining = json.loads(run("ttl", f"sqlite:///{tmp_path}/sliding.db", "k", "--json").out)["ttl"]
    assert remaining <= 300
