"""Locks by name: one task at a time, and none left behind."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap.core.concurrency import (
    KeyedLocks,
    gather,
    gather_outcomes,
    is_abandoned,
    wait_for,
)
from kvwrap.core.locks import Shared
from kvwrap.errors import Deadlock
from kvwrap.testing import ManualClock


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
    async with asyncio.timeout(30), locks.hold("name"):
        assert len(locks) == 1
    assert len(locks) == 0


async def test_a_wait_for_a_lock_of_ones_own_is_refused_and_leaves_nothing() -> None:
    locks = KeyedLocks()
    async with locks.hold("a"), locks.hold("b"):
        for name in ("a", "b"):
            with pytest.raises(Deadlock, match="holds itself"):
                async with locks.hold(name):
                    pass
            with pytest.raises(LookupError):
                async with locks.hold(name, deadlock=LookupError):
                    pass
    assert len(locks) == 0
    async with locks.hold("a"):
        assert len(locks) == 1


async def test_opposite_orders_end_in_an_error_of_one() -> None:
    locks, both = KeyedLocks(), asyncio.Barrier(2)

    async def hold(*names: str) -> None:
        async with locks.hold(names[0]):
            await both.wait()
            async with locks.hold(names[1]):
                pass

    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(hold("a", "b"), hold("b", "a"), return_exceptions=True)
    assert sorted(map(str, map(type, outcomes))) == sorted(map(str, (type(None), Deadlock)))
    assert len(locks) == 0


async def test_a_block_that_begins_tasks_without_waiting_for_them_lets_them_wait() -> None:
    locks = KeyedLocks()

    async def later() -> str:
        async with locks.hold("a", tells_deadlocks=False):
            return "held"

    async with locks.hold("a", tells_deadlocks=False):
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    assert await task == "held"


async def test_an_error_is_shared_only_by_those_who_ask_for_it() -> None:
    locks, go = KeyedLocks(), asyncio.Event()

    async def fail(error: BaseException) -> None:
        async with locks.hold("a", shares_errors=True):
            await go.wait()
            raise error

    async def wait(shares_errors: bool) -> str:
        async with locks.hold("a", shares_errors=shares_errors):
            return "held"

    failing = asyncio.create_task(fail(LookupError()))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(wait(shares)) for shares in (True, False, True, False)]
    await asyncio.sleep(0)
    waiting[2].cancel()
    go.set()
    outcomes = await asyncio.gather(failing, *waiting, return_exceptions=True)
    kinds = [LookupError, LookupError, str, asyncio.CancelledError, str]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert len(locks) == 0


async def test_a_waiter_cancelled_with_the_holder_ends_as_cancelled() -> None:
    locks = KeyedLocks()

    async def hold() -> None:
        async with locks.hold("k"):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 3
    assert not locks


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    locks = KeyedLocks()

    async def hold() -> str:
        async with locks.hold("a"):
            return "held"

    waiting = [asyncio.create_task(hold()) for _ in range(3)]
    async with locks.hold("a"):
        await asyncio.sleep(0)
    waiting[0].cancel()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, str, str]
    assert len(locks) == 0


def test_a_lock_that_a_stopped_loop_left_is_free_in_the_next_one() -> None:
    locks = KeyedLocks()

    async def hold() -> None:
        async with locks.hold("a"):
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold()) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0.001))
    assert len(locks) == 1, "the loop may continue"

    async def main() -> None:
        assert len(locks) == 0
        async with asyncio.timeout(30), locks.hold("a"):
            assert len(locks) == 1

    asyncio.run(main())
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    assert len(locks) == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_a_waiter_cancelled_just_before_the_release_is_passed_over(fails: bool) -> None:
    locks = KeyedLocks()

    async def hold() -> str:
        async with locks.hold("a", shares_errors=True):
            return "held"

    waiting = [asyncio.create_task(hold()) for _ in range(2)]
    try:
        async with locks.hold("a", shares_errors=True):
            await asyncio.sleep(0)
            waiting[0].cancel()
            if fails:
                raise LookupError
    except LookupError:
        pass
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    last = LookupError if fails else str
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, last]
    assert len(locks) == 0


async def test_a_lock_that_was_waited_for_tells_its_holder_too() -> None:
    locks = KeyedLocks()

    async def hold_twice() -> None:
        async with locks.hold("a"), locks.hold("a"):
            pass

    waiting = [asyncio.create_task(hold_twice()) for _ in range(2)]
    async with locks.hold("a"):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Deadlock, Deadlock]
    assert len(locks) == 0


async def test_gather_returns_in_order_and_raises_the_first_error_when_all_have_ended() -> None:
    ended: list[int] = []

    async def call(number: int, error: Exception | None = None) -> int:
        for _ in range(5 - number):
            await asyncio.sleep(0)
        ended.append(number)
        if error is not None:
            raise error
        return number

    assert await gather([call(1), call(2), call(3)]) == [1, 2, 3]
    assert await gather([call(1)]) == [1]
    assert await gather([]) == []
    ended.clear()
    with pytest.raises(LookupError, match="first"):
        await gather([call(1, LookupError("first")), call(2, OSError("second")), call(3)])
    assert ended == [3, 2, 1]


async def test_a_call_that_is_cancelled_by_itself_cancels_those_who_gather_it() -> None:
    ended: list[str] = []

    async def cancelled() -> str:
        raise asyncio.CancelledError

    async def slow() -> str:
        await asyncio.sleep(0)
        ended.append("slow")
        return "slow"

    for function in (gather_outcomes, gather):
        ended.clear()
        with pytest.raises(asyncio.CancelledError):
            await function([cancelled(), slow()])
        assert ended == ["slow"]


async def test_those_who_got_what_a_block_shared_do_not_release_the_lock_of_others() -> None:
    locks, inside, most = KeyedLocks(), 0, 0

    async def get_shared() -> object:
        async with locks.hold("a", shares_errors=True) as shared:
            return shared

    async def work() -> None:
        nonlocal inside, most
        async with locks.hold("a"):
            inside += 1
            most = max(most, inside)
            for _ in range(5):
                await asyncio.sleep(0)
            inside -= 1

    async def share() -> None:
        hold = locks.hold("a", shares_errors=True)
        async with hold:
            await asyncio.sleep(0)
            hold.share("value")

    sharing = asyncio.create_task(share())
    shared = [asyncio.create_task(get_shared()) for _ in range(3)]
    working = [asyncio.create_task(work()) for _ in range(3)]
    await sharing
    assert await asyncio.gather(*shared) == [Shared("value")] * 3
    await asyncio.gather(*working)
    assert most == 1
    assert len(locks) == 0


async def test_a_waiter_that_is_closed_leaves_the_queue() -> None:
    locks = KeyedLocks()
    async with locks.hold("a"):
        waiting = locks.hold("a", tells_deadlocks=False).__aenter__()
        waiting.send(None)
        waiting.close()  # as the garbage collector does
    assert len(locks) == 0


def test_a_lock_of_a_loop_that_was_closed_counts_for_nothing() -> None:
    locks = KeyedLocks()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(locks.hold("a").__aenter__())
    assert len(locks) == 1
    loop.close()
    assert len(locks) == 0
    assert is_abandoned(None)


async def test_waiting_for_a_time_says_whether_the_work_ended_in_it(clock: ManualClock) -> None:
    async def fail() -> None:
        raise LookupError

    assert await wait_for(clock, 5, asyncio.sleep(0)) is True
    with pytest.raises(LookupError):
        await wait_for(clock, 5, fail())
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for(clock, 5, event.wait()))
    await clock.run(4.5)
    assert not waiting.done()
    await clock.run(0.5)
    assert await waiting is False
    assert not clock.sleeping
