"""Limits on the time of calls: what is late is ended, and only that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from kvwrap.core import deadlines
from kvwrap.core.deadlines import Deadlines, TimeLimit, TimeLimits, time_limit


async def wait_until_over(limit: TimeLimit) -> None:
    with limit:
        await asyncio.Event().wait()


async def test_a_block_that_takes_too_long_raises_a_timeout() -> None:
    limit = TimeLimits().within(0.001)
    with pytest.raises(TimeoutError):
        await wait_until_over(limit)
    assert limit.has_expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_next_limit_of_a_task_is_its_own() -> None:
    limits = TimeLimits()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await wait_until_over(limits.within(0.001))
    with limits.within(None) as limit:
        await asyncio.sleep(0.01)
    assert not limit.has_expired


async def test_each_block_has_its_own_time() -> None:
    limits = TimeLimits()
    release = asyncio.Event()
    late: list[str] = []

    async def block(name: str, seconds: float | None) -> None:
        try:
            with limits.within(seconds):
                await release.wait()
        except TimeoutError:
            late.append(name)
            if len(late) == 2:
                release.set()

    # The longest first: a later block may be over before it.
    await asyncio.gather(block("day", 86_400), block("second", 0.02), block("first", 0.001))
    assert sorted(late) == ["first", "second"]


async def test_a_cancellation_by_somebody_else_is_no_timeout() -> None:
    limit = TimeLimits().within(86_400)
    task = asyncio.create_task(wait_until_over(limit))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not limit.has_expired


async def test_a_cancellation_at_the_time_of_the_limit_stays_a_cancellation() -> None:
    limit = TimeLimits().within(86_400)
    task = asyncio.create_task(wait_until_over(limit))
    await asyncio.sleep(0)
    limit.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_of_a_block_are_raised_as_they_are() -> None:
    with pytest.raises(TimeoutError, match="of its own"), TimeLimits().within(86_400) as limit:
        raise TimeoutError("of its own")
    assert not limit.has_expired


async def test_a_time_that_is_over_ends_the_block_at_its_first_wait() -> None:
    with pytest.raises(TimeoutError):
        await wait_until_over(TimeLimits().until(asyncio.get_running_loop().time() - 1))


async def test_what_is_removed_or_stopped_is_not_ended() -> None:
    ended: list[str] = []
    deadlines = Deadlines(ended.append)
    now = asyncio.get_running_loop().time()
    deadlines.add("removed", now)
    deadlines.add("never", float("inf"))
    assert deadlines.remove("removed")
    deadlines.add("late", now)
    while not ended:
        await asyncio.sleep(0.001)
    assert not deadlines.remove("late")
    deadlines.add("stopped", now)
    deadlines.stop()
    await asyncio.sleep(0.01)
    assert (ended, list(deadlines.pending)) == (["late"], ["never", "stopped"])


async def test_a_block_that_loses_the_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlines, "CANCEL_AGAIN", 0.001)

    async def lose_two_cancellations(limit: TimeLimit) -> None:
        with limit:
            for _ in range(2):
                with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` of Python 3.11 may
                    await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await lose_two_cancellations(TimeLimits().within(0.001))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_limit_of_one_block_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def recording(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
        made.append(call_at(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(loop, "call_at", recording)
    with time_limit(86_400) as limit:
        await asyncio.sleep(0)
    assert not limit.has_expired
    with pytest.raises(ValueError, match="own"), time_limit(86_400):
        raise ValueError("its own")
    assert [timer.cancelled() for timer in made] == [True, True]
    with pytest.raises(TimeoutError), time_limit(0.001) as limit:
        await asyncio.Event().wait()
    assert limit.has_expired
    assert all(timer.cancelled() for timer in made[3:])  # it would have cancelled once more
    with time_limit(None):
        pass
