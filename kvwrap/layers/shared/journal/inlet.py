"""Calls that begin in one turn of the event loop, of which a few at a time go on."""

from __future__ import annotations

import asyncio
from collections import deque

from kvwrap.core.turns import SLICE


class Inlet:
    """Lets a bounded number of calls go on in each turn of the event loop, in their order.

    Thousands of calls that are made at once all begin in one turn. What each does before it
    waits for the first time adds up, and keeps other tasks waiting.

    Args:
        loop: The event loop of the calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> asyncio.Future[None] | None:
        """Let a call go on. Returns what it has to await before it does, if anything."""
        if self._waiting or self._begun >= SLICE:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            return waiter
        if not self._begun:
            self._loop.call_soon(self._begin_turn)
        self._begun += 1
        return None

    def _begin_turn(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < SLICE:
            waiter = self._waiting.popleft()
            if not waiter.done():  # cancelled
                waiter.set_result(None)
                self._begun += 1
        if self._begun:
            self._loop.call_soon(self._begin_turn)
