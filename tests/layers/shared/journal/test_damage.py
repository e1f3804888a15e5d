"""Damaged journals: what is whole is used, the rest is reported, and every error is kvwrap's."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from kvwrap import ConfigurationError, KvwrapError, MemoryStore, ValueTooLarge
from kvwrap.core.entry import Entry
from kvwrap.layers.shared.journal.change import Change
from kvwrap.layers.shared.journal.file import JournalFile
from kvwrap.layers.shared.journal.rows import decode_row, encode_row
from kvwrap.layers.write_behind import WriteBehind
from tests.conftest import SOAK
from tests.layers.faulty import FaultyStore, numbered_keys

ENTRY = Entry(b'{"n": 1}', b"\x01", 1_700_000_000.0, None, 2**63 + 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def fill(path: Path, backend: FaultyStore) -> None:
    """Leave three pending changes in a journal: two puts and a delete."""
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(["a", "b"], [1, 2])
        await store.delete("c", collection="x")
    backend.down = False


def change_file(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE pending SET entry = 'text' WHERE key = 'b'", ["b"]),
        ("UPDATE pending SET entry = 17 WHERE key = 'b'", ["b"]),
        ("UPDATE pending SET entry = NULL WHERE key = 'b'", ["b"]),
        ("UPDATE pending SET key = CAST(x'ff' AS TEXT) WHERE key = 'b'", ["\ufffd"]),
        ("UPDATE pending SET key = 5 WHERE key = 'b'", ["5"]),
        ("UPDATE pending SET collection = CAST(x'ff' AS TEXT) WHERE key = 'b'", ["b"]),
        ("UPDATE pending SET key = 'another' WHERE key = 'b'", ["another"]),
        ("UPDATE pending SET key = 'another' WHERE key = 'c'", ["another"]),
        ("UPDATE pending SET collection = 'y' WHERE key = 'c'", ["c"]),
    ],
)
async def test_a_damaged_row_is_set_aside_and_the_others_are_sent(
    path: Path, backend: FaultyStore, statement: str, refused: list[str]
) -> None:
    await backend.put_many(["c", "another"], ["old", "old"], collection="x")
    await fill(path, backend)
    change_file(path, statement)
    async with WriteBehind(path).over(backend) as store:
        layer = store.find(WriteBehind)
        await layer.flush()
        found = await layer.refused()
        assert [row.key for row in found] == refused
        assert [row.reason for row in found] == ["CorruptEntry"]
        assert layer.snapshot().damaged == 1
        assert await layer.retry_refused() == 0, "a damaged change is never sent"
        # A removal under a damaged name removes nothing else.
        assert await backend.get("another", collection="x") == "old"
        assert await layer.discard_refused() == 1
    assert {"a", "b"} >= set(await backend.keys()) >= {"a"}


async def test_a_damaged_refused_row_is_shown_and_blocks_nothing(
    path: Path, backend: FaultyStore
) -> None:
    await fill(path, backend)
    change_file(
        path,
        "INSERT INTO refused VALUES (99, 'c', CAST(x'ff' AS TEXT), NULL, CAST(x'fe' AS TEXT))",
        "INSERT INTO refused VALUES (100, 'c', 'k', 17, 'x')",
    )
    async with WriteBehind(path).over(backend) as store:
        layer = store.find(WriteBehind)
        assert [row.key for row in await layer.refused()] == ["\ufffd", "k"]
        assert await layer.retry_refused() == 0
        await layer.flush()
    assert await backend.keys() == ["a", "b"]


@pytest.mark.parametrize("number", [2**63 - 1, 2**62, -5])
async def test_an_impossible_number_is_replaced(
    path: Path, backend: FaultyStore, number: int
) -> None:
    await fill(path, backend)
    change_file(path, f"UPDATE pending SET number = {number} WHERE key = 'b'")
    async with WriteBehind(path).over(backend) as store:
        await store.put("d", 4)
        await store.find(WriteBehind).flush()
        assert store.find(WriteBehind).snapshot().damaged == 1
    assert await backend.get_many(["a", "b", "d"]) == [1, 2, 4]


async def test_the_table_of_refused_changes_is_created_again(
    path: Path, backend: FaultyStore
) -> None:
    await fill(path, backend)
    change_file(path, "DROP TABLE refused")
    async with WriteBehind(path).over(backend) as store:
        assert await store.find(WriteBehind).refused() == []
        assert store.find(WriteBehind).snapshot().damaged == 1
        await store.find(WriteBehind).flush()
    assert await backend.keys() == ["a", "b"]


async def test_a_journal_without_its_changes_is_not_taken_for_an_empty_one(
    path: Path, backend: FaultyStore
) -> None:
    await fill(path, backend)
    change_file(path, "ALTER TABLE pending RENAME TO qending")
    content = path.read_bytes()
    for _ in range(2):  # the first attempt keeps no lock
        with pytest.raises(ConfigurationError, match="no change in it can be read"):
            await WriteBehind(path).over(backend).open()
    assert path.read_bytes() == content


async def test_a_damaged_file_is_replaced_by_what_can_be_read_and_kept(
    path: Path, backend: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    keys = numbered_keys(200)
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(keys, ["x" * 500] * 200)
    page_size = 4096
    content = bytearray(path.read_bytes())
    middle = len(content) // page_size // 2 * page_size
    content[middle : middle + page_size] = os.urandom(page_size)
    path.write_bytes(content)
    backend.down = False
    async with WriteBehind(path).over(backend) as store:
        layer = store.find(WriteBehind)
        await layer.flush()
        assert layer.snapshot().damaged >= 1
        await store.put("new", 1)
        await layer.flush()
    assert 100 < len(await backend.keys()) <= 201
    assert set(await backend.keys()) <= {*keys, "new"}
    assert Path(f"{path}.damaged").read_bytes() == content
    assert "was damaged" in caplog.text
    caplog.clear()
    async with WriteBehind(path).over(backend) as store:
        assert store.find(WriteBehind).snapshot().damaged == 0


async def test_a_damaged_file_without_pending_changes_keeps_those_set_aside(
    path: Path, backend: FaultyStore
) -> None:
    keys = numbered_keys(200)
    backend.write_errors = dict.fromkeys(keys, ValueTooLarge("too large"))
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(keys, ["x" * 500] * 200)
        await store.find(WriteBehind).flush()
        assert len(await store.find(WriteBehind).refused()) == 200
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = os.urandom(4096)
    path.write_bytes(content)
    async with WriteBehind(path).over(backend) as store:
        assert store.find(WriteBehind).pending == 0
        assert 0 < len(await store.find(WriteBehind).refused()) < 200


async def test_what_was_rescued_is_replaced_by_newer_changes_of_its_key(
    path: Path, backend: FaultyStore
) -> None:
    keys = numbered_keys(200)
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(keys, ["old" * 200] * 200)
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = os.urandom(4096)
    path.write_bytes(content)
    async with WriteBehind(path).over(backend) as store:
        assert 0 < store.find(WriteBehind).pending < 200
        await store.put_many(keys, ["new"] * 200)
    backend.down = False
    async with WriteBehind(path).over(backend) as store:
        assert store.find(WriteBehind).pending == 200
        await store.find(WriteBehind).flush()
        assert await backend.get_many(keys) == ["new"] * 200
    async with WriteBehind(path).over(backend) as store:
        assert store.find(WriteBehind).pending == 0


def test_whatever_a_row_holds_decoding_it_raises_only_errors_of_kvwrap() -> None:
    rng = random.Random(0 if not SOAK else None)
    rows: list[tuple[Any, ...]] = []
    for entry, collection in ((ENTRY, None), (ENTRY, "c"), (None, "c")):
        number, name, key, data = encode_row(Change(7, collection, "ключ", entry))
        rows.append((number, name.encode(), key.encode(), data))
        assert decode_row(rows[-1], "owner") == Change(7, collection, "ключ", entry)
    strange: list[Any] = [None, 0, -1, 2**63 - 1, 1.5, b"", b"\x00", b"\xff\xfe", "text", ENTRY]
    refused = 0
    for _ in range(200_000 if SOAK else 20_000):
        original = rng.choice(rows)
        row = list(original)
        field = rng.randrange(4)
        match rng.randrange(4), row[field]:
            case 0, _:
                row[field] = rng.choice(strange)
            case 1, bytes(data) if data:
                row[field] = data[: rng.randrange(len(data))]
            case 2, bytes(data) if data:
                at = rng.randrange(len(data))
                row[field] = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case _, bytes(data):
                row[field] = data + os.urandom(3)
            case _, number:
                row[field] = number + rng.choice([-8, -7, 2**62])
        try:
            decode_row(tuple(row), "owner")
        except KvwrapError:
            refused += 1
        else:
            assert row[1:] == list(original[1:]), "damage was not noticed"
    assert refused > 10_000


async def test_whatever_happens_to_the_file_opening_it_raises_only_errors_of_kvwrap(
    path: Path, backend: FaultyStore
) -> None:
    rng = random.Random(0 if not SOAK else None)
    await fill(path, backend)
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(numbered_keys(60), ["x" * 300] * 60)
        await store.put("long", "y" * 20_000)
    original = path.read_bytes()
    opened = 0
    logging.disable(logging.CRITICAL)
    try:
        for trial in range(10_000 if SOAK else 300):
            content = bytearray(original)
            for _ in range(rng.choice([1, 1, 3, 50])):
                at = rng.choice([rng.randrange(100), rng.randrange(len(content))])
                match rng.randrange(4):
                    case 0:
                        content[at] ^= 1 << rng.randrange(8)
                    case 1:
                        content[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
                    case 2:
                        content[at : at + 8] = os.urandom(8)
                    case _:
                        del content[max(200, len(content) - rng.randrange(5000)) :]
            damaged = path.with_name(f"journal-{trial}")
            damaged.write_bytes(content)
            with suppress(KvwrapError), closing(JournalFile(str(damaged), "owner")) as file:
                opened += 1
                file.refused()
                file.accept([Change(file.last_number + 1, None, "new", ENTRY)])
                file.forget([change.number for change in file.changes[:5]])
                file.retry_refused()
    finally:
        logging.disable(logging.NOTSET)
    assert opened > 100


async def test_a_journal_is_readable_for_its_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        async with WriteBehind(path).over(MemoryStore()) as store:
            await store.put("k", 1)
            files = sorted(path.parent.iterdir())
            assert path in files
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    finally:
        os.umask(old)


async def test_a_relative_path_stays_the_same_file(
    tmp_path: Path, backend: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unopened = WriteBehind("journal").over(backend)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    async with unopened as store:
        await store.put("k", 1)
        assert (tmp_path / "journal").exists()
