"""One background task at a time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from kvwrap.core.worker import Worker


class Jobs:
    """Numbers that a worker takes one after another, each when the gate is open."""

    def __init__(self, *, count: int = 0) -> None:
        self.left = list(range(count))
        self.done: list[int] = []
        self.running = self.most_running = 0
        self.gate = asyncio.Event()
        self.worker = Worker(self.work, lambda: bool(self.left))

    async def work(self) -> None:
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            while self.left:
                await self.gate.wait()
                self.done.append(self.left.pop(0))
        finally:
            self.running -= 1


async def test_it_starts_if_there_is_something_to_do_and_ends_when_nothing_is_left() -> None:
    jobs = Jobs()
    jobs.worker.start()
    assert jobs.worker.idle
    assert not jobs.worker.is_running
    jobs.left = [1, 2]
    jobs.worker.start()
    jobs.worker.start()
    assert not jobs.worker.idle
    assert jobs.worker.is_running
    jobs.gate.set()
    await jobs.worker.drain()
    assert (jobs.done, jobs.most_running) == ([1, 2], 1)
    assert jobs.worker.idle
    assert not jobs.worker.is_running


async def test_draining_starts_it_and_includes_what_is_added_meanwhile() -> None:
    jobs = Jobs(count=1)
    draining = asyncio.create_task(jobs.worker.drain())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert jobs.running == 1
    jobs.gate.set()
    while jobs.running:
        await asyncio.sleep(0)
    jobs.left.append(7)  # after the task has ended, and before the drain has noticed it
    await draining
    assert jobs.done == [0, 7]


async def test_cancelling_ends_the_task_and_it_can_be_started_again() -> None:
    jobs = Jobs(count=2)
    await jobs.worker.cancel()
    jobs.worker.start()
    await asyncio.sleep(0)
    await jobs.worker.cancel()
    assert jobs.worker.idle
    assert (jobs.running, jobs.done) == (0, [])
    jobs.gate.set()
    await jobs.worker.drain()
    assert jobs.done == [0, 1]


async def test_a_cancelled_drain_leaves_the_task_running() -> None:
    jobs = Jobs(count=1)
    draining = asyncio.create_task(jobs.worker.drain())
    await asyncio.sleep(0)
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert jobs.worker.is_running
    jobs.gate.set()
    await jobs.worker.drain()
    assert jobs.done == [0]


def test_the_task_of_a_stopped_loop_is_replaced_and_stays_referenced() -> None:
    left: list[int] = []

    async def wait_for_ever() -> None:
        # Nothing but the task itself refers to this future.
        await asyncio.get_running_loop().create_future()

    async def start() -> None:
        worker.start()
        await asyncio.sleep(0)

    async def work() -> None:
        left.clear()
        if is_stuck:
            await wait_for_ever()

    worker = Worker(work, lambda: bool(left))
    loops = [asyncio.new_event_loop() for _ in range(3)]
    is_stuck = True
    for loop in loops:
        left.append(1)
        loop.run_until_complete(start())
        assert not worker.idle
    is_stuck = False
    left.append(1)

    async def continue_work() -> None:
        assert worker.idle
        await worker.cancel()  # only of this loop
        await worker.drain()

    asyncio.run(continue_work())
    assert not left
    gc.collect()
    for loop in loops:
        (task,) = asyncio.all_tasks(loop)
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()


@pytest.mark.parametrize("is_closed", [True, False])
def test_tasks_that_have_ended_are_not_kept(is_closed: bool) -> None:
    tasks: list[Callable[[], object]] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(weakref.ref(task))

    async def main() -> None:
        await worker.drain()

    left = [1]
    worker = Worker(work, lambda: bool(left) and len(tasks) < 3)
    loops = []
    for _ in range(4):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        if is_closed:
            loop.close()
        else:
            loops.append(loop)
    gc.collect()
    assert [ref() is None for ref in tasks] == [True, True, False]
    for loop in loops:
        loop.close()
