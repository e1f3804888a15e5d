"""Calls that begin in one turn of the event loop, of which a few at a time go on."""

from __future__ import annotations

import asyncio
from collections import deque

from kvwrap.core.turns import SLICE


class Inlet:
    """Lets a bounded number of calls go on in each turn of the event loop, in their order.

    Thousands of calls that are made at once all begin in one turn. What each does before it
    waits for the first time adds up, and keeps other tasks waiting. It belongs to one event loop.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> bool:
        """Let a call go on. Returns False if it has to `wait` before it goes on."""
        if self._waiting or self._begun >= SLICE:
            return False
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._begun += 1
        return True

    def wait(self) -> asyncio.Future[None]:
        """Return what is done in the turn in which the call may go on."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def _begin_turn(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < SLICE:
            waiter = self._waiting.popleft()
            if not waiter.done():  # cancelled
                waiter.set_result(None)
                self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._begin_turn)
