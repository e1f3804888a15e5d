"""A layer for caches: what fails is a miss, or is dropped, where nothing depends on the result."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvwrap import Chaos, Keyring, MemoryStore, Store, StoreUnavailable, stack
from kvwrap.integrations.shared.best_effort import BestEffort


@pytest.fixture
def store() -> Store:
    return stack(BestEffort()).chaos().over(MemoryStore())


async def test_without_a_failure_it_changes_nothing(store: Store) -> None:
    await store.put("k", 1, ttl=60)
    assert await store.get_many(["k", "missing"]) == [1, None]
    assert await store.delete("k") is True
    assert await store.delete("k") is False
    assert await store.put_if_absent("k", 2)
    assert not await store.put_if_absent("k", 3)


async def test_what_fails_is_a_miss_or_dropped(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.put("k", "a secret value")
    store.find(Chaos).down = True
    with caplog.at_level(logging.WARNING, "kvwrap.integrations"):
        assert await store.get_many(["k", "k2"]) == [None, None]
        assert await store.ttl("k") == (None, None)
        assert not await store.exists("k")
        await store.put("k", "another secret value")
        await store.put_many(["k", "k2"], [1, 2])
        assert await store.delete("k") is False
    assert "a cache failed a read, which is a miss: StoreUnavailable" in caplog.text
    assert "a cache failed a write, which is dropped" in caplog.text
    assert "a cache failed a removal, which is dropped" in caplog.text
    assert "secret" not in caplog.text
    store.find(Chaos).down = False
    assert await store.get("k") == "a secret value"


async def test_what_decides_something_still_fails(store: Store) -> None:
    await store.put("k", 1)
    store.find(Chaos).down = True
    with pytest.raises(StoreUnavailable):
        await store.put_if_absent("k2", 1)
    with pytest.raises(StoreUnavailable):
        await store.increment("k")
    with pytest.raises(StoreUnavailable):
        await store.keys()
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_an_entry_that_does_not_decrypt_is_a_miss_and_is_replaced() -> None:
    backend = MemoryStore()
    await stack().encrypt(Keyring.generate("lost")).over(backend).put("k", 1)
    store = stack(BestEffort()).encrypt(Keyring.generate("new")).over(backend)
    assert await store.get("k") is None
    await store.put("k", 2)
    assert await store.get("k") == 2


async def test_an_open_circuit_breaker_is_not_logged_for_each_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = stack(BestEffort()).circuit_breaker(2).chaos().over(MemoryStore())
    store.find(Chaos).down = True
    for _ in range(20):
        assert await store.get("k") is None
    assert len(caplog.records) == 2


async def test_cancellation_is_passed_on() -> None:
    store = stack(BestEffort()).chaos(delay=(60, 60)).over(MemoryStore())
    reading = asyncio.ensure_future(store.get("k"))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
