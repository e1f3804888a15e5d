"""`kvwrap inspect` and `kvwrap rewrite`: reports and exit codes."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path

import pytest

from kvwrap import Capability, SQLiteStore, stack
from kvwrap.cli.main import main
from tests.cli.programs import has_begun, interrupt
from tests.rewriting.entries import NEW, OLD, fill


def test_entries_are_inspected_and_rewritten(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store.db"

    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(path)) as store:
            await fill(store, 10)
            await store.put("k", 1, collection="x")

    asyncio.run(prepare())
    assert main(["inspect", config, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "31 would be rewritten" in out
    assert "old: 31" in out
    state = str(tmp_path / "state")
    arguments = ["rewrite", config, "--batch", "3", "--state", state]
    assert main([*arguments, "--collection", "users", "--collection", ""]) == 0
    assert "20 rewritten" in capsys.readouterr().out
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "11 rewritten" in out
    assert "not needed    old" in out


def test_failures_have_exit_codes(
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def prepare() -> None:
        async with SQLiteStore(tmp_path / "store.db") as store:
            await store.put("plain", 1)

    asyncio.run(prepare())
    assert main(["rewrite", config]) == 1
    assert "'plain'" in capsys.readouterr().out
    monkeypatch.delenv("TEST_REWRITE_KEYS")
    assert main(["rewrite", config]) == 2
    assert "TEST_REWRITE_KEYS" in capsys.readouterr().err


def test_a_part_of_the_keys_can_be_chosen(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(tmp_path / "store.db")) as store:
            await fill(store, 20)

    asyncio.run(prepare())
    assert main(["rewrite", config, "--prefix", "k01", "--collection", "users"]) == 0
    out = capsys.readouterr().out
    assert "'users': 10 seen, 10 rewritten" in out
    assert "not complete" in out
    assert main(["rewrite", config, "--collection", "uesrs"]) == 1
    assert "no collection uesrs: did you mean 'users'?" in capsys.readouterr().err


def test_other_programs_keys_need_a_word(
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    config = tmp_path / "raw.toml"
    config.write_text(
        f"""
        store = "{redis_url.removesuffix("/0")}/12?raw=true"
        silence = ["migration-open"]

        [[layers]]
        type = "serialize"
        serializer = "json"

        [[layers]]
        type = "encrypt"
        keyring = {{ env = "TEST_REWRITE_KEYS" }}
        accept_plaintext = true
        """
    )
    assert main(["rewrite", str(config)]) == 2
    assert "--everything" in capsys.readouterr().err
    assert main(["inspect", str(config)]) == 0
    assert main(["rewrite", str(config), "--prefix", "user:"]) == 0
    assert main(["rewrite", str(config), "--everything"]) == 0


def test_a_store_that_cannot_compare_versions_needs_a_word(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without = SQLiteStore.capabilities - {Capability.COMPARE_AND_PUT}
    monkeypatch.setattr(SQLiteStore, "capabilities", without)
    assert main(["rewrite", config]) == 2
    assert "exclusive=True" in capsys.readouterr().err
    assert main(["rewrite", config, "--exclusive"]) == 0


def test_programs_see_nothing_but_the_report(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", config]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert main(["inspect", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["seen"] == 0


@pytest.mark.usefixtures("terminal")
def test_people_see_a_bar(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(tmp_path / "store.db")) as store:
            await fill(store, 20)

    asyncio.run(prepare())
    assert main(["rewrite", config, "--dry-run", "--batch", "5"]) == 0
    captured = capsys.readouterr()
    assert "60/60" in captured.err
    assert "60 would be rewritten" in captured.out
    assert main(["rewrite", config, "--batch", "5", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    described = json.loads(captured.out)
    assert described["keys"] == {"new": 60}
    assert described["retirable"] == ["old"]
    assert not captured.err


def test_ctrl_c_stops_a_rewrite_that_continues_later(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(tmp_path / "store.db")) as store:
            await fill(store, 20)

    asyncio.run(prepare())
    with Path(config).open("a") as file:
        file.write('[[layers]]\ntype = "chaos"\ndelay = 0.2\n')
    text = Path(config).read_text()
    Path(config).write_text('silence = ["chaos-over-real-data"]\n' + text)
    state = tmp_path / "state"
    arguments = ["rewrite", config, "--batch", "1", "--state", str(state)]
    ended = interrupt(*arguments, when=lambda: has_begun(state))
    assert (ended.code, ended.out) == (130, "")
    assert "run the same command again" in ended.err
    assert "Traceback" not in ended.err
    Path(config).write_text(text.replace("delay = 0.2", "delay = 0"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*arguments, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["report"]["seen"] == 60
    assert described["keys"] == {"new": 60}
    assert not state.exists()


def test_a_warning_is_printed_as_the_other_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "store.toml"
    config.write_text(
        'store = "memory://"\n[[layers]]\ntype = "timeout"\nseconds = 1\n'
        '[[layers]]\ntype = "retry"\n[[layers]]\ntype = "compress"\n'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown = warnings.showwarning
        assert main(["inspect", str(config), "--quiet"]) == 0
        assert warnings.showwarning is shown
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kvwrap: warning: ")
    assert ".py:" not in line
