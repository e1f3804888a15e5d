"""Commands on a stack that an application has open: neither keeps the other from opening."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import from_config
from kvwrap.cli.stores import load
from tests.cli.conftest import Run

_FILE = """
store = "sqlite:///store.db"
[[layers]]
type = "statistics"
socket = "outer.sock"
[[layers]]
type = "read_through"
ttl = 5
near = { store = "memory://", layers = [{ type = "statistics", socket = "near.sock" }] }
"""


@pytest.fixture
def file() -> Iterator[Path]:
    """A configuration with two sockets, in a folder whose path is short enough for them."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-") as folder:
        path = Path(folder) / "kvwrap.toml"
        path.write_text(_FILE)
        yield path


def served(file: Path) -> set[str]:
    return {each.name for each in file.parent.iterdir() if each.is_socket()}


def test_commands_work_while_the_application_runs(file: Path, run: Run) -> None:
    async def beside() -> None:
        async with from_config(file) as store:
            await store.put("a", 1)
            assert served(file) == {"outer.sock", "near.sock"}
            assert (await asyncio.to_thread(run, "get", str(file), "a")).out == "1\n"
            checked = await asyncio.to_thread(run, "check", str(file), "--json")
            assert (checked.code, json.loads(checked.out)["ok"]) == (0, True)
            shown = await asyncio.to_thread(run, "top", str(file), "--once", "--json")
            assert json.loads(shown.out)["process"] == os.getpid()

    asyncio.run(beside())


async def test_the_application_opens_while_a_command_runs(file: Path) -> None:
    async with load(str(file), python=False, creates=True) as ours:
        assert served(file) == set()
        async with from_config(file) as theirs:
            assert served(file) == {"outer.sock", "near.sock"}
            await theirs.put("a", 1)
            assert await ours.get("a") == 1


_JOURNALS = """
[behind]
store = "sqlite:///store.db"
[[behind.layers]]
type = "write_behind"
journal = "behind.journal"

[outage]
store = "sqlite:///store.db"
[[outage.layers]]
type = "fallback"
other = "sqlite:///other.db"
writes = "journal"
journal = "outage.journal"
"""


@pytest.mark.parametrize("name", ["behind", "outage"])
def test_the_journal_is_the_applications(name: str, file: Path, run: Run) -> None:
    """Commands neither open it, which only one process can, nor create one."""
    file.write_text(_JOURNALS)
    place = f"{file}#{name}"

    async def beside() -> None:
        async with from_config(file, name=name) as store:
            await store.put("a", 1)
            await store.count()  # so that it is sent
            for words, out in (
                (("get", place, "a"), "1\n"),
                (("put", place, "b", "2"), ""),
                (("keys", place), "a\nb\n"),
                (("delete", place, "a", "--yes"), "1 deleted\n"),
            ):
                result = await asyncio.to_thread(run, *words)
                assert (result.code, result.out) == (0, out), result.err
            checked = await asyncio.to_thread(run, "check", place, "--json")
            assert (checked.code, json.loads(checked.out)["ok"]) == (0, True)

    asyncio.run(beside())
    journal = file.parent / f"{name}.journal"
    journal.unlink()
    assert run("get", place, "b").out == "2\n"
    assert f"journal '{journal}' of " in run("check", place).out
    (checked,) = [
        each
        for each in json.loads(run("check", place, "--json").out)["checks"]
        if each["part"].startswith("journal ")
    ]
    assert (checked["mend"], checked["to_come"] is not None) == (None, True)
    file.write_text(_JOURNALS.replace(f'"{name}.journal"', f'"missing/{name}.journal"'))
    result = run("check", place)
    assert (result.code, "its folder must exist" in result.out) == (1, True)
    file.write_text(_JOURNALS)
    assert not journal.exists()
    assert journal.name in run("explain", place).out, "which shows the stack as it is described"


async def test_the_application_opens_its_journal_while_a_command_runs(file: Path) -> None:
    file.write_text(_JOURNALS)
    for name in ("behind", "outage"):
        async with (
            load(f"{file}#{name}", python=False, creates=True) as ours,
            from_config(file, name=name) as theirs,
        ):
            await theirs.put("a", name)
            await theirs.count()
            assert await ours.get("a") == name


def test_layers_with_a_socket_are_measured(file: Path, run: Run) -> None:
    """The stacks that are compared have the same socket."""
    result = run("bench", str(file), "--rounds", "5", "--json")
    layers = json.loads(result.out)["layers"]
    assert [each["name"] for each in layers] == ["statistics", "read_through", "backend"]
    assert all(each["get"] is not None for each in layers)
