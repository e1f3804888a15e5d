"""The callers of `flush`, each waiting for the changes that were pending when it called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kvwrap.core.primitives import QualifiedKey
from kvwrap.layers.shared.journal.change import Change


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
        self,
        pending: dict[QualifiedKey, Change],
        qualified_keys: Iterable[QualifiedKey] | None = None,
    ) -> None:
        """Wait until the changes that are pending now, of these keys or of all, were sent.

        Raises what `notify` is given meanwhile.
        """
        last = pending[next(reversed(pending))].number
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keys = None if qualified_keys is None else tuple(qualified_keys)
        self._waiters.append(_Waiter(last, keys, sent))
        await sent

    def notify(self, pending: Mapping[QualifiedKey, Change], error: Exception | None) -> None:
        """Return from the calls whose changes were sent; raise an error in the others, if any."""
        if not self._waiters:
            return
        oldest = next(iter(pending.values())).number if pending else None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.sent.done():
                continue
            if _is_sent(waiter, pending, oldest):
                waiter.sent.set_result(None)
            elif error is not None:
                waiter.sent.set_exception(error)
            else:
                self._waiters.append(waiter)


def _is_sent(waiter: _Waiter, pending: Mapping[QualifiedKey, Change], oldest: int | None) -> bool:
    if oldest is None or waiter.last < oldest:
        return True
    if waiter.qualified_keys is None:
        return False
    changes = [pending.get(qualified_key) for qualified_key in waiter.qualified_keys]
    return all(change is None or change.number > waiter.last for change in changes)
