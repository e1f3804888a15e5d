"""Telling those who watch that reads have changed from one store to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from kvwrap.core.changes import LOST, Listener, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import cancel_and_wait, is_abandoned, is_running

_PAUSE: Final = 1.0
"""Seconds between two attempts to reach the inner store, while somebody watches."""


class Switches:
    """Knows which store has answered the last read, and tells when that changes.

    While the other store answers and somebody watches, the inner store is tried again and again:
    who only waits for changes reads nothing, and would not be told that it is back.

    Args:
        try_inner: Asks the inner store for anything; raises an error if it does not answer.
    """

    def __init__(self, try_inner: Callable[[], Awaitable[object]]) -> None:
        self._try_inner = try_inner
        self._reads_other = False
        self._watching: list[WatchedSwitches] = []
        self._task: asyncio.Task[None] | None = None

    def note(self, *, reads_other: bool) -> None:
        """Note which store has answered a read."""
        if reads_other is not self._reads_other:
            self._reads_other = reads_other
            for each in tuple(self._watching):
                each.tell()
        if reads_other and self._watching and not is_running(self._task):
            self._task = asyncio.create_task(self._return(), context=Context())

    async def _return(self) -> None:
        while self._reads_other and self._watching:
            await self._watching[0].clock.sleep(_PAUSE)
            try:
                await self._try_inner()
            except Exception:  # noqa: S112  # whatever it is, reads get it as well
                continue
            self.note(reads_other=False)

    def watch(self, subscription: Subscription, listener: Listener, clock: Clock) -> Subscription:
        """Return the subscription to both stores, whose listener is told of changes between them.

        Args:
            subscription: The subscription.
            listener: Its listener.
            clock: The time source, for pauses between attempts.
        """
        watching = WatchedSwitches(self, subscription, listener, clock)
        self._watching.append(watching)
        if self._reads_other:
            self.note(reads_other=True)
        return watching

    async def end(self, watching: WatchedSwitches) -> None:
        """Tell this one nothing more."""
        if watching in self._watching:
            self._watching.remove(watching)
        task = self._task
        if not self._watching and is_running(task) and task is not asyncio.current_task():
            await cancel_and_wait((task,))


class WatchedSwitches:
    """A subscription to both stores."""

    def __init__(
        self, switches: Switches, subscription: Subscription, listener: Listener, clock: Clock
    ) -> None:
        self.clock = clock
        self._switches = switches
        self._subscription = subscription
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    @property
    def heard_at(self) -> float:
        """As for `kvwrap.core.changes.Subscription`."""
        return self._subscription.heard_at

    def tell(self) -> None:
        """Tell the listener, in its event loop, that anything may have changed."""
        if self._is_closed or is_abandoned(self._loop):
            return
        if self._loop is asyncio.get_running_loop():
            self._listener(LOST)
        else:
            self._loop.call_soon_threadsafe(self.tell)

    async def close(self) -> None:
        """End it. A second call does nothing."""
        self._is_closed = True
        try:
            await self._switches.end(self)
        finally:
            await self._subscription.close()
