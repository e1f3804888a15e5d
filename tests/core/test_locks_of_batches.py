"""Locks of many names at once."""

from __future__ import annotations

import asyncio
import gc

import pytest

from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.locks import Queue
from kvwrap.core.turns import SLICE
from kvwrap.errors import Deadlock
from tests.turns import turns_during

COUNT = 20 * SLICE
KEYS = [f"key-{number}" for number in range(COUNT)]


def queues() -> list[Queue]:
    """Those of the whole process, of other tests too."""
    return [
        each for each in gc.get_objects() if type(each) is Queue
    ]  # not by isinstance: some tests have objects with a hostile class


async def hold(locks: KeyedLocks, keys: list[str], until: asyncio.Event | None = None) -> None:
    async with locks.hold_keys(None, keys):
        assert len(locks) >= len(set(keys))
        if until is not None:
            await until.wait()


async def test_a_large_batch_gives_turns_and_leaves_no_lock() -> None:
    locks = KeyedLocks()
    assert await turns_during(hold(locks, KEYS)) >= 2 * COUNT / SLICE - 2
    assert len(locks) == 0


async def test_locks_that_nobody_waits_for_are_one_object_for_the_garbage_collector() -> None:
    locks, until = KeyedLocks(), asyncio.Event()
    others = queues()
    holding = asyncio.create_task(hold(locks, KEYS, until))
    while len(locks) < COUNT:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(hold(locks, [key])) for key in KEYS[:3]]
    await asyncio.sleep(0)
    made = [each for each in queues() if not any(each is other for other in others)]
    assert 1 <= len(made) <= 1 + len(waiting)
    until.set()
    await asyncio.gather(holding, *waiting)
    assert not locks


@pytest.mark.parametrize("turns", [0, 1, 5, 19, 20, 21, 25, 38])
async def test_a_cancelled_batch_leaves_no_lock(turns: int) -> None:
    locks = KeyedLocks()
    holding = asyncio.create_task(hold(locks, KEYS))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting = asyncio.create_task(hold(locks, [KEYS[0], KEYS[-1]]))
    await asyncio.sleep(0)
    holding.cancel()
    await asyncio.wait([holding])
    await waiting
    assert len(locks) == 0


async def test_batches_with_keys_in_common_take_turns() -> None:
    locks, go, order = KeyedLocks(), asyncio.Event(), []

    async def work(name: str, keys: list[str]) -> None:
        async with locks.hold_keys("c", keys):
            order.append(name)
            await go.wait()
            order.append(name)

    tasks = [
        asyncio.create_task(work("first", ["b", "a", "b"])),
        asyncio.create_task(work("second", ["c", "b"])),
        asyncio.create_task(work("third", ["c"])),
        asyncio.create_task(work("other", ["d"])),
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["first", "third", "other"], "c is free, since b comes before it"
    go.set()
    await asyncio.gather(*tasks)
    assert sorted(order[:6]) == ["first", "first", "other", "other", "third", "third"]
    assert order[6:] == ["second", "second"]


async def test_the_same_name_in_another_collection_is_another_lock() -> None:
    locks = KeyedLocks()
    async with locks.hold_keys("c", ["a"]), locks.hold_keys(None, ["a"]):
        assert len(locks) == 2


@pytest.mark.parametrize("keys", [["a"], ["a", "b"], ["b", "a"]])
async def test_a_batch_within_a_batch_of_the_same_task_is_a_deadlock(keys: list[str]) -> None:
    locks = KeyedLocks()
    async with locks.hold_keys(None, ["a", "c"]):
        with pytest.raises(Deadlock):
            await asyncio.wait_for(hold(locks, keys), 30)
    assert len(locks) == 0


async def test_batches_in_different_orders_are_told_of_the_deadlock() -> None:
    locks, go = KeyedLocks(), asyncio.Event()

    async def work(first: str, second: str) -> None:
        async with locks.hold_all([first]):
            await go.wait()
            async with locks.hold_all(["between", second]):
                pass

    tasks = [asyncio.create_task(work("a", "b")), asyncio.create_task(work("b", "a"))]
    await asyncio.sleep(0)
    go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Deadlock) == 1
    assert len(locks) == 0
