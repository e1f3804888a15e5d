"""Calls that begin in one turn go on a few at a time, in their order."""

from __future__ import annotations

import asyncio

from kvwrap.core.turns import SLICE
from kvwrap.layers.shared.journal.inlet import Inlet


async def go_on(inlet: Inlet, number: int, gone: list[int]) -> None:
    entered = inlet.enter()
    if entered is not None:
        await entered
    gone.append(number)


async def test_one_call_after_another_does_not_wait() -> None:
    inlet = Inlet(asyncio.get_running_loop())
    for _ in range(3 * SLICE):
        assert inlet.enter() is None
        await asyncio.sleep(0)


async def test_calls_of_one_turn_go_on_in_their_order_and_some_at_a_time() -> None:
    inlet, gone = Inlet(asyncio.get_running_loop()), list[int]()
    calls = [asyncio.create_task(go_on(inlet, n, gone)) for n in range(3 * SLICE + 1)]
    before = 0
    while not all(call.done() for call in calls):
        await asyncio.sleep(0)
        assert len(gone) - before <= SLICE
        before = len(gone)
    assert gone == list(range(len(calls)))
    await asyncio.sleep(0)
    assert inlet.enter() is None


async def test_a_cancelled_call_takes_no_place() -> None:
    inlet, gone = Inlet(asyncio.get_running_loop()), list[int]()
    calls = [asyncio.create_task(go_on(inlet, n, gone)) for n in range(3 * SLICE)]
    await asyncio.sleep(0)
    for call in calls[SLICE : 2 * SLICE]:
        call.cancel()
    await asyncio.wait(calls)
    assert gone == [*range(SLICE), *range(2 * SLICE, 3 * SLICE)]
