"""The contract of locks that processes share."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from kvwrap import (
    Capability,
    Deadlock,
    LockLost,
    LockTimeout,
    UnsupportedOperation,
)
from kvwrap.core.lease import RESERVED, LockRecord, LockRecords, record_key
from kvwrap.core.store import Store
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, P, Test

T = TypeVar("T")


def needs_locks(test: Test[P]) -> Test[P]:
    """Mark a test of locks. A store that has none must refuse them, and say why."""
    signature = inspect.signature(test)

    @functools.wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        store: Store = signature.bind(*args, **kwargs).arguments["store"]
        try:
            async with store.lock("probe"):
                pass
        except UnsupportedOperation as refusal:
            can = {Capability.COMPARE_AND_PUT, Capability.SHARED} <= store.capabilities
            assert not can or "raw" in store.base.traits or await store.base.evicts()
            assert refusal.store, "the error must name the store"
            return
        await test(*args, **kwargs)

    return run


async def passing(clock: ManualClock, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work, for which the clock moves on in small steps."""
    task = asyncio.ensure_future(work)
    while not task.done():
        clock.advance(0.01)
        await asyncio.sleep(0.002)
    return task.result()


async def leave_behind(store: Store, key: str, *, ttl: float) -> LockRecord:
    """Let the lock be held by a process that has ended. Returns the record."""
    record = LockRecord(holder=12345, fencing=7, ttl=ttl)
    records = LockRecords(store, is_cached=True)
    name = record_key("lock", None, key)
    assert await records.replace(name, await records.read(name), record)
    return record


class Locks(Contract):
    """Locks exclude each other, and end with their holder."""

    @needs_locks
    async def test_a_lock_has_one_holder_at_a_time(self, store: Store) -> None:
        inside = most = 0

        async def work() -> None:
            nonlocal inside, most
            async with store.lock("a"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*[work() for _ in range(5)])
        assert most == 1

    @needs_locks
    async def test_fencing_numbers_grow(self, store: Store) -> None:
        numbers = []
        for _ in range(4):
            async with store.lock("a") as lease:
                numbers.append(lease.fencing)
        assert numbers == sorted(set(numbers))
        await store.remove(RESERVED, [record_key("lock", None, "a")])
        async with store.lock("a") as lease:
            assert lease.fencing > 0

    @needs_locks
    async def test_locks_of_other_names_are_independent(self, store: Store) -> None:
        async with store.lock("a"), store.lock("b"), store.lock("a", collection="c") as lease:
            assert lease.is_held
        assert not lease.is_held

    @needs_locks
    async def test_a_lock_leaves_entries_alone(self, store: Store) -> None:
        await store.put("a", 1)
        async with store.lock("a"):
            await store.put("a", 2)
            assert await store.get("a") == 2
        if Capability.COLLECTIONS in store.capabilities:
            assert await store.collections() == []

    @needs_locks
    async def test_short_attempts_together_find_out_that_a_holder_has_died(
        self, store: Store, clock: ManualClock
    ) -> None:
        record = await leave_behind(store, "a", ttl=100)
        for seconds in (60, 60):
            with pytest.raises(LockTimeout):
                async with store.lock("a", wait=0):
                    raise AssertionError("the lock may still be held")
            clock.advance(seconds)
        async with store.lock("a", wait=0) as lease:
            assert lease.fencing > record.fencing

    @needs_locks
    async def test_a_held_lock_is_not_waited_for_longer_than_asked(
        self, store: Store, clock: ManualClock
    ) -> None:
        async def attempt(wait: float) -> None:
            async with store.lock("a", wait=wait):
                raise AssertionError("the lock is held")

        async with store.lock("a", ttl=3600):
            for wait in (0, 0.05):
                with pytest.raises(LockTimeout):
                    await passing(clock, attempt(wait))
        await leave_behind(store, "b", ttl=3600)
        with pytest.raises(LockTimeout) as raised:
            async with store.lock("b", wait=0):
                raise AssertionError("the lock is held")
        assert raised.value.key == "b"

    @needs_locks
    async def test_a_task_cannot_wait_for_itself(self, store: Store) -> None:
        async with store.lock("a"):
            with pytest.raises(Deadlock):
                await store.lock("a").__aenter__()
        async with store.lock("a"):
            pass

    @needs_locks
    async def test_a_lock_of_a_dead_holder_is_taken_after_its_ttl(
        self, store: Store, clock: ManualClock
    ) -> None:
        record = await leave_behind(store, "a", ttl=0.1)
        clock.jump(3600)  # wall clocks decide nothing

        async def acquire() -> tuple[int, float]:
            async with store.lock("a", ttl=3600) as lease:
                return lease.fencing, clock.monotonic()

        before = clock.monotonic()
        fencing, acquired_at = await passing(clock, acquire())
        assert fencing > record.fencing
        assert acquired_at - before >= record.ttl

    @needs_locks
    async def test_a_lost_lock_cancels_its_block(self, store: Store, clock: ManualClock) -> None:
        async def work() -> None:
            async with store.lock("a", ttl=0.1) as lease:
                await store.remove(RESERVED, [record_key("lock", None, "a")])
                try:
                    await asyncio.Event().wait()
                finally:
                    assert not lease.is_held
                    with pytest.raises(LockLost):
                        lease.check()

        async def again() -> None:
            async with store.lock("a"):
                pass

        with pytest.raises(LockLost):
            await passing(clock, work())
        # Against a slow server the lease may be over before its record is removed.
        await passing(clock, again())

    @needs_locks
    async def test_a_block_that_ends_after_the_loss_raises(self, store: Store) -> None:
        with pytest.raises(LockLost):
            async with store.lock("a"):
                await store.remove(RESERVED, [record_key("lock", None, "a")])

    @needs_locks
    async def test_a_lease_is_renewed(self, store: Store, clock: ManualClock) -> None:
        records = LockRecords(store, is_cached=True)
        name = record_key("lock", None, "a")

        async def renewal() -> None:
            async with store.lock("a", ttl=30):
                before = await records.read(name)
                clock.advance(11)
                while (after := await records.read(name)) == before:
                    await clock.settle()
                assert before is not None
                assert after is not None
                assert after.record == before.record

        await renewal()
        async with store.lock("a", wait=0):
            pass

    @needs_locks
    async def test_an_error_of_the_block_releases_the_lock(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError):
            async with store.lock("a"):
                raise ZeroDivisionError
        async with store.lock("a", wait=0):
            pass

    @needs_locks
    async def test_a_cancelled_block_releases_the_lock(self, store: Store) -> None:
        entered = asyncio.Event()

        async def hold() -> None:
            async with store.lock("a", ttl=3600):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(hold())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with store.lock("a"):
            pass

    @needs_locks
    async def test_a_cancelled_wait_leaves_nothing(self, store: Store) -> None:
        async with store.lock("a", ttl=3600):
            tasks = [asyncio.ensure_future(store.lock("a").__aenter__()) for _ in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
        async with store.lock("a", wait=0):
            pass

    @needs_locks
    async def test_closing_the_store_ends_its_locks(self, store: Store) -> None:
        entered = asyncio.Event()

        async def work() -> None:
            async with store.lock("a", ttl=3600):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await entered.wait()
        await store.close()
        with pytest.raises(LockLost):
            await task
        await store.open()
        async with store.lock("a", wait=0):
            pass

    @needs_locks
    async def test_a_block_may_close_the_store(self, store: Store) -> None:
        with pytest.raises(LockLost):
            async with store.lock("a", ttl=3600):
                await store.close()
        await store.open()
        async with store.lock("a", wait=0):
            pass
