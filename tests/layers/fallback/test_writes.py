"""Writes with `writes="refuse"` and `writes="both"`."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import pytest

from kvwrap import (
    MemoryStore,
    StoreUnavailable,
    stack,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


async def test_refused_writes_raise_and_reach_neither_store(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Fallback(other, failures=1).over(backend)
    await store.put("a", 1)
    backend.down = True
    for refused in (store.put("a", 2), store.delete("a"), store.increment("n"), store.destroy()):
        with pytest.raises(StoreUnavailable):
            await refused
    assert [call for call in other.calls if call[0] != "read"] == []
    assert backend.count("write") == 2
    backend.down = False
    assert await backend.get("a") == 1


async def test_both_keeps_the_other_store_up_to_date(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = Fallback(other, writes="both").over(backend)
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=60)
    await store.delete("b")
    await store.increment("n", 5)
    assert not await store.put_if_absent("a", 9)
    assert await store.expire("a", 5)
    await store.put("x", 1, collection="gone")
    await store.destroy_collection("gone")
    backend.down = True
    assert await store.get_many(["a", "b", "c", "n"]) == [1, None, 3, 5]
    assert await store.keys() == ["a", "c", "n"]
    assert await store.collections() == []
    clock.advance(6)
    assert await store.get("a") is None
    with pytest.raises(StoreUnavailable):
        await store.put("a", 2)
    assert await other.get("a") is None
    backend.down = False
    clock.advance(10)
    assert await store.destroy()
    assert await other.keys() == []


async def test_a_copy_that_fails_does_not_fail_the_write(
    backend: FaultyStore, other: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store = Fallback(other, writes="both", failures=2).over(backend)
    other.down = True
    for number in range(5):
        await store.put(f"k{number}", "secret-value")
    assert await store.delete("k0")
    assert len(backend) == 4
    assert store.find(Fallback).snapshot().copy_failures == 6
    assert other.count("write") == 2
    assert "secret-value" not in caplog.text
    assert "missed a write" in caplog.text


async def test_the_written_keys_of_a_failed_batch_are_copied(
    other: FaultyStore, clock: ManualClock
) -> None:
    bad = FaultyStore(clock=clock)
    inner = stack().route({"b*": bad}, by="key").over(MemoryStore(clock=clock))
    store = Fallback(other, writes="both").over(inner)
    bad.down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(["a1", "b1", "a2"], [1, 2, 3])
    assert caught.value.succeeded == ("a1", "a2")
    assert await other.keys() == ["a1", "a2"]
    await other.put("b1", 0)
    with pytest.raises(StoreUnavailable) as caught:
        await store.delete_many(["a1", "b1", "a2"])
    assert caught.value.succeeded == ("a1", "a2")
    assert await other.keys() == ["b1"]


async def test_a_removal_without_a_condition_removes_what_only_the_other_store_has(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Fallback(other, writes="both").over(backend)
    await other.put_many(["a", "b", "kept"], [1, 2, 3])
    assert await store.delete("a") is False
    assert await store.delete_many(["b", "none"]) == 0
    assert await store.compare_and_delete("kept", 5) is False
    assert await other.keys() == ["kept"]


async def test_a_cancelled_write_is_not_copied(backend: FaultyStore, other: FaultyStore) -> None:
    store = Fallback(other, writes="both").over(backend)
    backend.gate.clear()
    write = asyncio.create_task(store.put("a", 1))
    await ManualClock.settle()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    backend.gate.set()
    assert len(other) == 0


@pytest.mark.parametrize("writes", ["both", "refuse"])
async def test_it_is_idle_while_no_write_holds_a_lock(
    backend: FaultyStore, other: FaultyStore, writes: Literal["both", "refuse"]
) -> None:
    store = Fallback(other, writes=writes).over(backend)
    backend.gate.clear()
    write = asyncio.create_task(store.put("a", 1))
    await ManualClock.settle()
    assert store.find(Fallback).idle == (writes == "refuse"), "writes without copies take no lock"
    backend.gate.set()
    await write
    assert store.find(Fallback).idle


async def test_what_changes_return_where_writes_are_refused_in_an_outage(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Fallback(other, writes="refuse").over(backend)
    await store.put("k", 1)
    assert await store.expire("k", 5) is True
    assert await store.expire("missing", 5) is False
    assert await store.delete("k") is True
