"""Reads in an outage, and the circuit breaker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from kvwrap import (
    Capability,
    CircuitOpen,
    CorruptEntry,
    MemoryStore,
    RateLimited,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys
from tests.layers.without_capabilities import WithoutCapabilities


@pytest.mark.parametrize("error", [StoreUnavailable("x"), StoreTimeout("x"), CircuitOpen("x")])
async def test_reads_fall_back_to_the_other_store(
    backend: FaultyStore, other: FaultyStore, error: Exception
) -> None:
    await backend.put_many(["a", "b"], [1, 2])
    await other.put_many(["a", "b"], [1, 2])
    store = Fallback(other).over(backend)
    assert await store.get("a") == 1
    assert other.count("read") == 0
    backend.down = error
    assert await store.get_many(["a", "b", "c"]) == [1, 2, None]
    assert await store.ttl("a") == (1, None)
    assert await store.keys() == ["a", "b"]
    assert await store.exists("b")
    assert await store.count() == 2
    assert await store.collections() == []
    assert store.find(Fallback).snapshot().fallback_reads == 8
    backend.down = False
    assert await store.get("a") == 1


@pytest.mark.parametrize("error", [CorruptEntry("x"), ValueTooLarge("x"), RuntimeError("x")])
async def test_other_errors_do_not_fall_back(
    backend: FaultyStore, other: FaultyStore, error: Exception
) -> None:
    store = Fallback(other).over(backend)
    backend.down = error
    for _ in range(5):
        with pytest.raises(type(error)):
            await store.get("a")
    assert other.count("read") == 0
    assert store.find(Fallback).snapshot().state == "closed"


async def test_a_failing_backend_is_not_called_until_one_call_probes_it(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    await other.put("a", "other")
    await backend.put("a", "inner")
    store = Fallback(other, failures=3, open_for=10).over(backend)
    backend.calls.clear()
    backend.down = StoreTimeout("slow")
    for _ in range(20):
        assert await store.get("a") == "other"
    assert backend.count("read") == 3
    assert store.find(Fallback).snapshot().state == "open"
    clock.advance(10)
    assert await store.get("a") == "other"
    assert backend.count("read") == 4
    clock.advance(10)
    backend.down = False
    backend.gate.clear()
    probe = asyncio.create_task(store.get("a"))
    await ManualClock.settle()
    assert await store.get("a") == "other"
    assert backend.count("read") == 5
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    backend.gate.set()
    # After the cancelled probe, the next call may probe.
    assert await store.get("a") == "inner"
    snapshot = store.find(Fallback).snapshot()
    assert (snapshot.state, snapshot.outages) == ("closed", 2)


async def test_a_rate_limit_is_not_an_outage(backend: FaultyStore, other: FaultyStore) -> None:
    store = Fallback(other, failures=1).over(backend)
    backend.down = RateLimited("no room")
    assert await store.get("a") is None
    backend.down = False
    await backend.put("a", 1)
    assert await store.get("a") == 1


async def test_when_neither_store_answers_the_error_names_both(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Fallback(other).over(backend)
    backend.down = StoreUnavailable("inner is gone")
    other.down = StoreUnavailable("other is gone")
    with pytest.raises(StoreUnavailable, match=r"neither.*inner is gone") as caught:
        await store.get("a")
    assert caught.value.__cause__ is other.down
    other.down = CorruptEntry("damaged")
    with pytest.raises(CorruptEntry):
        await store.get("a")


async def test_an_enumeration_stays_with_the_store_it_began_in(
    backend: FaultyStore, other: FaultyStore
) -> None:
    keys = numbered_keys(1200)
    await other.put_many(keys, [0] * 1200)
    store = Fallback(other).over(backend)
    backend.down = True
    scan = store.scan()
    found = [await anext(scan)]
    backend.down = False
    found += [key async for key in scan]
    assert found == sorted(keys)
    await backend.put_many(keys, [0] * 1200)
    scan = store.scan()
    await anext(scan)
    backend.down = True
    with pytest.raises(StoreUnavailable):
        _ = [key async for key in scan]


async def test_the_other_store_takes_no_capability_from_the_stack_but_to_watch(
    backend: FaultyStore,
) -> None:
    class Plain(MemoryStore):
        capabilities = frozenset({Capability.KEYS})

    store = Fallback(Plain).over(backend)
    assert store.capabilities == backend.capabilities - {Capability.WATCH}
    await store.put("a", 1)
    assert await store.keys() == ["a"]
    backend.down = True
    with pytest.raises(StoreUnavailable, match="down"):
        await store.keys()
    both = Fallback(Plain, writes="both").over(MemoryStore())
    assert Capability.DESTROY not in both.capabilities


@pytest.mark.parametrize("writes", ["both", "journal"])
async def test_names_come_from_no_store_that_cannot_list_them(
    backend: FaultyStore, tmp_path: Path, writes: Literal["both", "journal"]
) -> None:
    other = WithoutCapabilities(Capability.KEYS, Capability.COLLECTIONS).over(MemoryStore())
    journal = tmp_path / "journal" if writes == "journal" else None
    layer = Fallback(other, writes=writes, journal=journal, recovery_delay=0)
    async with layer.over(backend) as store:
        await store.put("k", 1)
        backend.down = True
        if journal is not None:
            await store.put("k", 2)
        for call in (store.keys, store.collections, store.count):
            with pytest.raises(StoreUnavailable):
                await call()
        assert await store.get("k") == (1 if journal is None else 2)
