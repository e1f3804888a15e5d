"""kvwrap writes and reads the examples in `docs/format.md`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kvwrap import Keyring, MemoryStore, Store, stack
from kvwrap.core.codec import JSON
from kvwrap.core.entry import Entry
from kvwrap.testing import ManualClock

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
EXAMPLES = [bytes.fromhex(found) for found in re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)]
CREATED, HOUR, VERSION = 1767225600.0, 3600.0, 0x0102030405060708


def encrypted(backend: Store) -> Store:
    return stack().encrypt(Keyring({"2026": bytes(range(32))})).over(backend)


def plain() -> Entry:
    return Entry(b'{"n":1}', JSON, CREATED, CREATED + HOUR, VERSION)


def test_there_are_two_examples() -> None:
    assert len(EXAMPLES) == 2


def test_the_plain_example_is_written() -> None:
    assert plain().to_bytes("users", "ada") == EXAMPLES[0]
    assert Entry.from_bytes(EXAMPLES[0], "users", "ada", "test") == plain()


async def test_the_encrypted_example_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryStore(clock=ManualClock(CREATED))
    store = encrypted(backend)
    monkeypatch.setattr(os, "urandom", lambda length: bytes(range(length)))
    await store.write("users", ["ada"], [plain()])
    (entry,) = await backend.read("users", ["ada"])
    assert entry is not None
    assert entry.to_bytes("users", "ada") == EXAMPLES[1]


async def test_the_encrypted_example_reads() -> None:
    backend = MemoryStore(clock=ManualClock(CREATED))
    entry = Entry.from_bytes(EXAMPLES[1], "users", "ada", "test")
    await backend.write("users", ["ada"], [entry])
    assert await encrypted(backend).get("ada", collection="users") == {"n": 1}
    assert f"{Keyring({'2026': bytes(32)}).ids['2026'].upper()}" in PAGE.replace(" ", "")
