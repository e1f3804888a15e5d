from __future__ import annotations

import pytest

from kvwrap import MemoryStore, StoreUnavailable, stack
from kvwrap.core.entry import Entry
from kvwrap.testing import Tap, corruptions


async def test_sees_every_operation_before_it_happens() -> None:
    seen: list[str] = []

    async def note(operation: str) -> None:
        seen.append(operation)

    store = stack(Tap(before=note)).over(MemoryStore())
    await store.put("a", 1)
    await store.get("a")
    await store.delete("a")
    await store.keys()
    await store.check()
    assert seen == ["write", "read", "remove", "list_keys", "ping"]


async def test_makes_operations_fail_without_being_done() -> None:
    async def fail(operation: str) -> None:
        if operation == "write":
            raise StoreUnavailable("by the test")

    store = stack(Tap(before=fail)).over(MemoryStore())
    with pytest.raises(StoreUnavailable):
        await store.put("a", 1)
    assert await store.get("a") is None


async def test_alters_what_is_read() -> None:
    store = stack(Tap(alter=lambda entry: entry.with_body(b'"altered"', entry.codec))).over(
        MemoryStore()
    )
    await store.put("a", 1)
    assert await store.get_many(["a", "b"]) == ["altered", None]
    assert await store.base.get("a") == 1


def test_alterations_change_every_byte_and_cut_everywhere() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.0, None, 7)
    found = list(corruptions(entry))
    assert all(altered != entry for altered in found)
    for place in range(4):
        assert any(
            altered.body[place : place + 1] != b"body"[place : place + 1] for altered in found
        )
        assert any(altered.body == b"body"[:place] for altered in found)
    assert any(altered.codec == b"\x11\x01" for altered in found)
    assert any(altered.codec == b"" for altered in found)


def test_of_a_long_body_some_places_are_chosen() -> None:
    entry = Entry(bytes(100_000), b"\x01", 1.0, None, 7)
    assert len(list(corruptions(entry))) < 2_000
