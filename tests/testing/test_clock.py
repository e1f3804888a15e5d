from __future__ import annotations

import asyncio

import pytest

from kvwrap.testing import ManualClock


async def test_it_does_not_move_on_its_own() -> None:
    clock = ManualClock()
    before = (clock.time(), clock.monotonic())
    await asyncio.sleep(0.002)
    assert (clock.time(), clock.monotonic()) == before


async def test_sleeping_tasks_wake_in_the_order_of_their_times() -> None:
    clock, woken = ManualClock(), []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0, 1.5, 0.0, -1.0):
            group.create_task(sleep(seconds))
        await clock.settle()
        assert woken == [0.0, -1.0]
        assert clock.sleeping == 4
        clock.advance(1.4)
        await clock.settle()
        assert woken[2:] == [1.0]
        assert [clock.sleeping_for(seconds) for seconds in (0.1, 0.6, 1.6, 2)] == [1, 1, 1, 0]
        clock.advance(1.6)
    assert woken[3:] == [1.5, 2.0, 3.0]
    assert clock.sleeping == 0


async def test_run_lets_each_task_run_at_its_own_wake_up_time() -> None:
    clock, ticks = ManualClock(), []

    async def tick() -> None:
        while True:
            await clock.sleep(0.75)
            ticks.append(clock.monotonic())

    ticking = asyncio.create_task(tick())
    await clock.run(3.1)
    assert ticks == [0.75, 1.5, 2.25, 3.0]
    assert clock.monotonic() == pytest.approx(3.1)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    assert clock.sleeping == 0
    await clock.run(10)
    assert len(ticks) == 4


async def test_a_cancelled_task_does_not_count_as_sleeping() -> None:
    clock = ManualClock()
    sleeping = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    assert clock.sleeping == clock.sleeping_for(1) == 0
    clock.advance(2)


def test_jump_moves_only_the_wall_clock() -> None:
    clock = ManualClock(1000.0)
    clock.advance(5)
    clock.jump(-100)
    assert (clock.time(), clock.monotonic()) == (905.0, 5.0)
    clock.jump(200)
    assert (clock.time(), clock.monotonic()) == (1105.0, 5.0)


@pytest.mark.parametrize("bad", [-1, float("nan")])
def test_advance_refuses_negative_seconds(bad: float) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        ManualClock().advance(bad)
