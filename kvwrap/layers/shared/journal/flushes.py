"""The callers of `flush`, each waiting for the changes that were pending when it called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from kvwrap.core.primitives import QualifiedKey
from kvwrap.layers.shared.journal.journal import Journal


class _Waiter(NamedTuple):
    """A caller: the last number it waits for, of these keys or of all, and what it awaits."""

    last: int
    qualified_keys: tuple[QualifiedKey, ...] | None
    sent: asyncio.Future[None]


class Flushes:
    """Those who wait until changes have been sent. They belong to one event loop."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []

    async def wait(
        self, journal: Journal, qualified_keys: Iterable[QualifiedKey] | None = None
    ) -> None:
        """Wait until the changes that are pending now, of these keys or of all, were sent.

        Raises what `notify` is given meanwhile.
        """
        pending = journal.pending
        last = pending[next(reversed(pending))].number
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keys = None if qualified_keys is None else tuple(qualified_keys)
        self._waiters.append(_Waiter(last, keys, sent))
        await sent

    def notify(self, journal: Journal, error: Exception | None) -> None:
        """Return from the calls whose changes were sent; raise an error in the others, if any."""
        if not self._waiters:
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.sent.done():
                continue
            if _is_sent(waiter, journal):
                waiter.sent.set_result(None)
            elif error is not None:
                waiter.sent.set_exception(error)
            else:
                self._waiters.append(waiter)


def _is_sent(waiter: _Waiter, journal: Journal) -> bool:
    """Return True if no change that the waiter knows of waits any more.

    One that was replaced before it was sent waits until what replaced it has been sent: until
    then the target has neither.
    """
    pending, replaced, last = journal.pending, journal.replaced, waiter.last
    if not pending:
        return True
    if waiter.qualified_keys is None:
        oldest = next(iter(pending.values())).number
        return last < oldest and all(number > last for number in replaced.values())
    return not any(
        qualified_key in pending
        and replaced.get(qualified_key, pending[qualified_key].number) <= last
        for qualified_key in waiter.qualified_keys
    )
