"""Watching several stores as one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextvars import Context
from math import inf
from typing import Final

from kvwrap.core.changes import LOST, Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import cancel_and_wait, gather_outcomes, is_running
from kvwrap.core.primitives import Primitives
from kvwrap.errors import KvwrapError, StoreUnavailable

_log = logging.getLogger("kvwrap.watch")

Watched = tuple[Primitives, Listener]
"""A store, and the listener of its changes."""

_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to watch a store that is not available."""


async def subscribe_all(
    stores: Sequence[Watched], scope: Scope, clock: Clock, *, needed: int | None = None
) -> Subscription:
    """Watch several stores; returns when enough of them tell their changes.

    Those that are not available are watched once they are; then their listeners are told `LOST`.
    One that refuses then is tried again and again, each time with `LOST`, since its changes are
    not told.

    Args:
        stores: The stores, each with the listener of its changes.
        scope: What is watched of each.
        clock: The time source, for pauses between attempts.
        needed: How many must be available; all of them if omitted.

    Raises:
        StoreUnavailable: Fewer than `needed` are available.
        UnsupportedOperation: A store cannot tell changes.
    """
    merged = MergedSubscription(scope, clock)
    try:
        outcomes = await gather_outcomes([merged.add(*watched) for watched in stores])
    except BaseException:
        # One was cancelled while others had begun.
        await merged.close()
        raise
    missing = [
        watched
        for watched, outcome in zip(stores, outcomes, strict=True)
        if isinstance(outcome, Exception)
    ]
    fatal = [
        each
        for each in outcomes
        if isinstance(each, Exception)
        and (
            not isinstance(each, StoreUnavailable)
            or len(merged.subscriptions) < (len(stores) if needed is None else needed)
        )
    ]
    if fatal:
        await merged.close()
        raise fatal[0]
    if missing:
        merged.begin(missing)
    return merged


class MergedSubscription:
    """The subscriptions to several stores."""

    def __init__(self, scope: Scope, clock: Clock) -> None:
        self.subscriptions: list[Subscription] = []
        self._scope = scope
        self._clock = clock
        self._missing: list[Watched] = []
        self._task: asyncio.Task[None] | None = None
        self._warned: set[str] = set()

    @property
    def heard_at(self) -> float:
        """The moment before which every change of every store has been told."""
        if self._missing:
            return -inf
        return min((each.heard_at for each in self.subscriptions), default=-inf)

    async def add(self, store: Primitives, listener: Listener) -> None:
        """Watch a store."""
        self.subscriptions.append(await store.subscribe(self._scope, listener))

    def begin(self, missing: Sequence[Watched]) -> None:
        """Watch these stores as soon as they are available."""
        self._missing = list(missing)
        self._task = asyncio.create_task(self._retry(), context=Context())

    async def _retry(self) -> None:
        pause = 1.0
        while self._missing:
            await self._clock.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)
            for watched in list(self._missing):
                store, listener = watched
                try:
                    await self.add(store, listener)
                except StoreUnavailable:
                    continue
                except Exception as error:
                    # It answers, so its entries are read, and nothing tells what changes.
                    self._warn(store, error)
                else:
                    self._missing.remove(watched)
                listener(LOST)

    def _warn(self, store: Primitives, error: Exception) -> None:
        if store.name in self._warned:
            return
        self._warned.add(store.name)
        _log.warning(
            "%s: changes cannot be watched, so all watchers are told every %g s that anything may "
            "have changed: %s",
            store.name,
            _LONGEST_PAUSE,
            error,
            exc_info=None if isinstance(error, KvwrapError) else error,
        )

    async def close(self) -> None:
        """End all of them. A second call does nothing."""
        task, self._task = self._task, None
        if is_running(task):
            await cancel_and_wait((task,))
        subscriptions, self.subscriptions = self.subscriptions, []
        self._missing.clear()
        for subscription in subscriptions:
            await subscription.close()
