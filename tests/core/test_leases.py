"""How leases of locks are waited for, and what closing the store does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kvwrap import LockLost, LockTimeout, SQLiteStore, Store, StoreUnavailable, stack
from kvwrap.core.lease import TAKEN, record_key
from kvwrap.core.recent import Recent
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.locks import leave_behind, passing
from kvwrap.testing.tap import Tap


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with SQLiteStore(tmp_path / "a.db", clock=clock) as store:
        yield store


async def test_the_last_pause_ends_with_the_time_to_wait(store: Store, clock: ManualClock) -> None:
    await leave_behind(store, "a", ttl=3600)

    async def acquire() -> None:
        async with store.lock("a", ttl=3600, wait=3):
            raise AssertionError("the lock is held")

    begun, task = clock.monotonic(), asyncio.ensure_future(acquire())
    while not task.done():
        if clock.sleeping:
            clock.advance(0.01)
        await asyncio.sleep(0)
    with pytest.raises(LockTimeout):
        await task
    assert 3 <= clock.monotonic() - begun < 3.05


async def test_a_lease_that_was_renewed_since_an_attempt_is_not_taken(
    store: Store, clock: ManualClock
) -> None:
    for _ in range(3):
        await leave_behind(store, "a", ttl=100)  # once more: as if it were renewed
        with pytest.raises(LockTimeout, match="died less than its ttl before"):
            async with store.lock("a", wait=0):
                raise AssertionError("the lock is held")
        clock.advance(60)
    clock.advance(60)
    async with store.lock("a", wait=0):
        pass


async def test_what_was_seen_of_locks_does_not_pile_up() -> None:
    recent: Recent[str, int] = Recent(2)
    for name in ("a", "b", "a", "c"):
        recent.keep(name, 1)
    assert list(recent) == ["a", "c"]


async def test_who_waits_while_the_store_closes_acquires_nothing(store: Store) -> None:
    entered = asyncio.Event()

    async def hold() -> None:
        async with store.lock("a"):
            entered.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(hold())
    await entered.wait()
    second = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    await store.close()
    with pytest.raises(LockLost):
        await first
    with pytest.raises(StoreUnavailable):
        await second
    await store.open()
    async with store.lock("a", wait=0):
        pass


async def test_closing_cancels_no_block_a_second_time(store: Store, clock: ManualClock) -> None:
    entered, ending, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ends = 0

    async def work() -> None:
        nonlocal ends
        async with store.lock("a", ttl=3):
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()
                await may_end.wait()
                ends += 1

    task = asyncio.create_task(work())
    await entered.wait()
    await store.remove("kvwrap.locks", [record_key("lock", None, "a")])
    await passing(clock, ending.wait())
    await store.close()
    may_end.set()
    with pytest.raises(LockLost, match=TAKEN):
        await task
    assert ends == 1


async def test_closing_while_a_lock_is_released_is_no_loss(
    tmp_path: Path, clock: ManualClock
) -> None:
    answers, asked = asyncio.Event(), asyncio.Event()
    answers.set()

    async def before(operation: str) -> None:
        asked.set()
        await answers.wait()

    layers = stack().layer(Tap(before=before))
    async with layers.over(SQLiteStore(tmp_path / "a.db", clock=clock)) as store:

        async def work() -> None:
            async with store.lock("a"):
                answers.clear()
                asked.clear()

        block = asyncio.create_task(work())
        while answers.is_set():  # the block has not ended
            await asyncio.sleep(0.001)
        await asked.wait()
        closing = asyncio.create_task(store.close())
        await clock.settle()
        answers.set()
        await asyncio.gather(block, closing)
        assert store.locks.lost == 0
