"""Renewals in the background: failures, bounds, closing, event loops."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from kvwrap import MemoryStore, SlidingTTL, StoreUnavailable
from kvwrap.testing import ManualClock
from tests.catalog import STORES, Resources
from tests.layers.sliding_ttl.writes import TTL, Writes, left, renewed, sliding


async def test_a_failed_renewal_is_counted_logged_and_tried_again_later(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="kvwrap.sliding_ttl")
    store = sliding(clock, ttl=1000.0, at_most_every=30.0)
    await store.put_many(["a", "b"], [1, 2], ttl=500)
    writes = store.find(Writes)
    writes.error = StoreUnavailable("secret")

    async def read() -> int:
        assert await store.get_many(["a", "b"]) == [1, 2]
        await renewed(store)
        return store.find(SlidingTTL).snapshot().failed

    assert [await read(), await read()] == [2, 2]
    clock.advance(29)
    assert await read() == 2
    clock.advance(1)
    assert await read() == 4
    assert len(caplog.messages) == 1
    assert "StoreUnavailable" in caplog.messages[0]
    assert "secret" not in caplog.text
    clock.advance(30)
    assert await read() == 6
    assert len(caplog.messages) == 2
    writes.error = RuntimeError("not of kvwrap")
    clock.advance(30)
    assert await read() == 8
    writes.error = None
    clock.advance(30)
    assert await read() == 8
    assert await left(store) == 1000


async def test_the_number_of_pending_renewals_is_bounded(clock: ManualClock) -> None:
    store = sliding(clock)
    keys = [str(number) for number in range(10_020)]
    await store.put_many(keys, keys, ttl=50)
    await store.get_many(keys)
    await renewed(store)
    counts = store.find(SlidingTTL).snapshot()
    assert (counts.renewed, counts.dropped) == (10_000, 20)
    await store.get_many(keys)
    await renewed(store)
    assert store.find(SlidingTTL).snapshot().renewed == 10_020


async def test_the_bytes_of_pending_renewals_are_bounded(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put_many(["a", "b", "c", "d"], ["x" * 2**24] * 4, ttl=50)
    await store.get_many(["a", "b", "c", "d"])
    await renewed(store)
    counts = store.find(SlidingTTL).snapshot()
    assert (counts.renewed, counts.dropped) == (1, 3)
    await store.put("huge", "x" * 2**26, ttl=50)
    await store.get_many(["huge", "b"])
    await renewed(store)
    counts = store.find(SlidingTTL).snapshot()
    assert (counts.renewed, counts.dropped) == (2, 4)


async def test_closing_after_no_renewal(clock: ManualClock) -> None:
    store = sliding(clock)
    for _ in range(2):
        async with store:
            await store.put("a", 1)
            assert await store.get("a") == 1
        assert store.find(SlidingTTL).idle


async def test_closing_writes_what_is_pending(clock: ManualClock) -> None:
    store = sliding(clock)
    async with store.base:
        async with store:
            await store.put("a", 1, ttl=50)
            await store.get("a")
        assert await left(store) == TTL
        assert store.find(SlidingTTL).idle


async def test_closing_a_stack_that_was_never_opened_writes_it_too(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    async with base:
        store = SlidingTTL(TTL).over(base)
        await store.put("a", 1, ttl=50)
        await store.get("a")
        await store.close()
        assert (await base.ttl("a"))[1] == TTL


async def test_closing_does_not_wait_for_ever(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.open()
    await store.put_many(["a", "b"], [1, 2], ttl=50)
    store.find(Writes).gate.clear()
    await store.get("a")
    await clock.settle()
    await store.get("b")
    closing = asyncio.create_task(store.close())
    await clock.settle()
    assert not closing.done()
    await clock.run(5)
    await closing
    counts = store.find(SlidingTTL).snapshot()
    assert (counts.renewed, counts.dropped) == (0, 1)
    assert store.find(SlidingTTL).idle


async def test_without_conditional_writes_it_touches(clock: ManualClock, tmp_path: Path) -> None:
    base = STORES["py-key-value"](Resources(clock, tmp_path, str))
    async with SlidingTTL(TTL).over(base) as store:
        await store.put("a", 1, ttl=50)
        await store.get("a")
        await renewed(store)
        assert await left(store) == pytest.approx(TTL, abs=0.01)
        assert store.find(SlidingTTL).snapshot().renewed == 1


def test_a_second_event_loop_goes_on(clock: ManualClock) -> None:
    store = sliding(clock)

    async def leave() -> None:
        await store.put("a", 1, ttl=50)
        store.find(Writes).gate.clear()
        await store.get("a")
        await asyncio.sleep(0)

    async def renew() -> None:
        store.find(Writes).gate = asyncio.Event()
        store.find(Writes).gate.set()
        assert store.find(SlidingTTL).idle
        await store.put("b", 2, ttl=50)
        await store.get("b")
        await renewed(store)
        assert await left(store, "b") == TTL
        assert store.find(SlidingTTL).idle

    asyncio.run(leave())
    asyncio.run(renew())
