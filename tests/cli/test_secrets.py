"""No command shows a password that its STORE has, whatever is wrong with it, in any form."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from kvwrap.cli.main import COMMANDS
from kvwrap.testing.servers.base import free_port
from tests.cli.conftest import Run

SECRET = "hunter2-of-the-server"
WORDS = {
    "get": ("STORE", "k"),
    "put": ("STORE", "k", "1"),
    "delete": ("STORE", "k", "--yes"),
    "ttl": ("STORE", "k"),
    "expire": ("STORE", "k", "5"),
    "increment": ("STORE", "k"),
    "keys": ("STORE",),
    "collections": ("STORE",),
    "count": ("STORE",),
    "watch": ("STORE", "--limit", "1"),
    "export": ("STORE",),
    "import": ("STORE",),
    "copy": ("STORE", "STORE"),
    "migrate": ("keyvalue-sqlite", "STORE", "STORE"),
    "rewrite": ("STORE",),
    "inspect": ("STORE",),
    "train-dictionary": ("STORE",),
    "explain": ("STORE",),
    "check": ("STORE",),
    "bench": ("STORE", "--rounds", "1"),
    "top": ("STORE", "--once"),
}
URLS = [
    f"redis://user:{SECRET}@127.0.0.1:PORT/0",
    f"redis://127.0.0.1:PORT/0?password={SECRET}",
    f"redis://127.0.0.1:PORT/0?pasword={SECRET}",
    f"redis:/user:{SECRET}@127.0.0.1",
    f"user:{SECRET}@127.0.0.1#name",
]


def has_json(command: str) -> bool:
    module, _, name = COMMANDS[command].partition(":")
    function = getattr(import_module(f"kvwrap.cli.{module}"), name)
    return "json" in inspect.signature(function).parameters


def test_every_command_with_a_store_is_tried() -> None:
    assert {*WORDS, "keygen", "completion"} == set(COMMANDS)


@pytest.mark.parametrize("command", WORDS)
def test_a_password_is_never_shown(command: str, run: Run) -> None:
    for url in URLS:
        place = url.replace("PORT", str(free_port()))
        words = [place if word == "STORE" else word for word in WORDS[command]]
        for form in ([], ["--json"]) if has_json(command) else ([],):
            result = run(command, *words, *form)
            assert SECRET not in result.out + result.err
            assert result.out + result.err


def test_a_password_in_a_file_is_never_shown(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "kvwrap.toml"
    for url in URLS[:3]:
        file.write_text(f'store = "{url.replace("PORT", str(free_port()))}"\nlayers = ["compress"]')
        for words in (("keys",), ("explain",), ("explain", "--json"), ("check", "--json")):
            result = run(words[0], str(file), *words[1:])
            assert SECRET not in result.out + result.err
