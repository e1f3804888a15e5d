"""Locks by name: one task at a time, and none left behind."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap.core.concurrency import KeyedLocks


async def test_one_task_at_a_time_for_a_name_and_names_do_not_wait_for_each_other() -> None:
    locks, inside, most = KeyedLocks(), 0, 0
    order = []

    async def work(number: int) -> None:
        nonlocal inside, most
        async with locks.hold("name"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            order.append(number)
            inside -= 1

    async with locks.hold("other"):
        await asyncio.gather(*map(work, range(10)))
    assert most == 1
    assert order == list(range(10))


async def test_no_lock_is_left_behind() -> None:
    locks = KeyedLocks()
    for name in range(100):
        async with locks.hold(name):
            assert len(locks) == 1
    with pytest.raises(LookupError):
        async with locks.hold("name"):
            raise LookupError
    assert len(locks) == 0


async def test_a_cancelled_waiter_and_a_cancelled_holder_leave_the_name_free() -> None:
    locks = KeyedLocks()

    async def hold_for_ever() -> None:
        async with locks.hold("name"):
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold_for_ever())
    waiters = [asyncio.create_task(hold_for_ever()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[1].cancel()
    await asyncio.gather(waiters[1], return_exceptions=True)
    for task in (holder, waiters[0], waiters[2]):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), locks.hold("name"):
        assert len(locks) == 1
    assert len(locks) == 0
