"""The thread that waits in a blocking view, and what it does meanwhile for a store."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from kvwrap import StoreUnavailable
from kvwrap.views.portal import Portal, is_begun_by_view, waiting_caller


def interrupt() -> None:
    raise KeyboardInterrupt


async def call(function: Any) -> Any:
    caller = waiting_caller()
    assert caller is not None
    return await caller.call(function)


def test_a_function_runs_on_the_thread_that_waits() -> None:
    portal = Portal()
    assert portal.run(call(threading.get_ident)) == threading.get_ident()

    async def by_a_task() -> Any:
        return await asyncio.create_task(call(threading.get_ident))

    assert portal.run(by_a_task()) == threading.get_ident()
    portal.close()


def test_nothing_waits_outside_of_a_view() -> None:
    async def look() -> tuple[bool, bool]:
        return waiting_caller() is None, is_begun_by_view()

    assert asyncio.run(look()) == (True, False)
    # On the thread that waits, in a loop of its own: it would wait for itself.
    portal = Portal()
    assert portal.run(call(lambda: asyncio.run(look()))) == (True, True)
    portal.close()


def test_what_goes_on_after_the_call_has_nobody_that_waits() -> None:
    portal = Portal()
    ended = threading.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def background(caller: Any) -> None:
        while not ended.is_set():
            await asyncio.sleep(0)
        assert waiting_caller() is None
        assert is_begun_by_view()
        with pytest.raises(StoreUnavailable):
            await caller.call(threading.get_ident)

    async def begin() -> None:
        tasks.append(asyncio.create_task(background(waiting_caller())))

    async def end() -> None:
        await tasks[0]

    portal.run(begin())
    ended.set()
    portal.run(end())
    portal.close()


def test_others_do_not_wait_for_a_thread_that_was_interrupted() -> None:
    portal = Portal()
    tasks: list[asyncio.Task[Any]] = []

    async def share() -> None:
        tasks.append(asyncio.create_task(call(interrupt)))
        tasks.append(asyncio.create_task(call(threading.get_ident)))
        await asyncio.Event().wait()

    async def look() -> list[Any]:
        return await asyncio.gather(*tasks, return_exceptions=True)

    with pytest.raises(KeyboardInterrupt):
        portal.run(share())
    assert [type(outcome) for outcome in portal.run(look())] == [StoreUnavailable] * 2
    portal.close()
