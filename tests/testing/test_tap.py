from __future__ import annotations

import pytest

from kvwrap import MemoryStore, StoreUnavailable, stack
from kvwrap.core.entry import Entry
from kvwrap.testing import Tap, corruptions


async def test_before_is_called_before_every_operation() -> None:
    seen: list[str] = []

    async def record(operation: str) -> None:
        seen.append(operation)

    store = stack(Tap(before=record)).over(MemoryStore())
    await store.put("a", 1)
    await store.get("a")
    await store.delete("a")
    await store.keys()
    await store.check()
    assert seen == ["write", "read", "remove", "list_keys", "ping"]


async def test_an_operation_fails_and_is_not_carried_out_when_before_raises() -> None:
    async def fail(operation: str) -> None:
        if operation == "write":
            raise StoreUnavailable("by the test")

    store = stack(Tap(before=fail)).over(MemoryStore())
    with pytest.raises(StoreUnavailable):
        await store.put("a", 1)
    assert await store.get("a") is None


async def test_alter_changes_the_entries_that_are_read() -> None:
    store = stack(Tap(alter=lambda entry: entry.with_body(b'"altered"', entry.codec))).over(
        MemoryStore()
    )
    await store.put("a", 1)
    assert await store.get_many(["a", "b"]) == ["altered", None]
    assert await store.base.get("a") == 1


def test_corruptions_change_each_byte_and_truncate_at_each_position() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.0, None, 7)
    corrupted = list(corruptions(entry))
    assert all(altered != entry for altered in corrupted)
    for position in range(4):
        assert any(
            altered.body[position : position + 1] != b"body"[position : position + 1]
            for altered in corrupted
        )
        assert any(altered.body == b"body"[:position] for altered in corrupted)
    assert any(altered.codec == b"\x11\x01" for altered in corrupted)
    assert any(altered.codec == b"" for altered in corrupted)


def test_the_number_of_positions_is_limited() -> None:
    entry = Entry(bytes(100_000), b"\x01", 1.0, None, 7)
    assert len(list(corruptions(entry))) < 2_000
    assert len(list(corruptions(entry, max_positions=10))) < 50
