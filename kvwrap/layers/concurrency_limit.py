"""So many operations at once, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import RateLimited
from kvwrap.layers.base import Around, Call, Finding, Layer, Store, checked_count, checked_seconds

T = TypeVar("T")


class ConcurrencyLimit(Around):
    """Lets at most `limit` operations run at once; the others wait, first come, first served.

    A batch is one operation. An operation that is cancelled while it waits gives its place
    up; one that is cancelled while it runs makes room.

    Args:
        limit: How many operations run at once.
        wait: How long one waits for its turn, in seconds (of the event loop); then
            `RateLimited` is raised, and nothing has been done. `None` waits as long as it
            takes, 0 not at all.
    """

    traits = frozenset({"limits_rate"})
    finding_codes = frozenset({"concurrency-limit-outside-retry"})

    def __init__(self, limit: int, *, wait: float | None = None) -> None:
        self.limit = checked_count(limit, "limit")
        self.wait = None if wait is None else checked_seconds(wait, "wait", zero=True)
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # What another loop left behind when it was stopped holds no place any more.
        self._loop = loop
        self._places = asyncio.Semaphore(self.limit)
        self._active = 0
        self._waiting = 0

    @property
    def active(self) -> int:
        """How many operations run at this moment."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._waiting

    async def around(self, call: Call[T]) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        places = self._places
        if places.locked():
            await self._turn(places, call)
        else:
            await places.acquire()
        self._active += 1
        try:
            return await call()
        finally:
            if places is self._places:
                self._active -= 1
            places.release()

    async def _turn(self, places: asyncio.Semaphore, call: Call[T]) -> None:
        if self.wait == 0:
            raise self._refusal(call)
        self._waiting += 1
        limit = asyncio.timeout(self.wait)
        try:
            async with limit:
                await places.acquire()
        except TimeoutError:
            raise self._refusal(call) from None
        finally:
            if places is self._places:
                self._waiting -= 1

    def _refusal(self, call: Call[T]) -> RateLimited:
        return RateLimited(
            f"{call.operation} found {self.limit} operations running and no room within "
            f"{self.wait} s",
            store=self.name,
            collection=call.collection,
            key=call.keys[0] if len(call.keys) == 1 else None,
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("retries" in layer.traits for layer in below):
            yield Finding(
                "concurrency-limit-outside-retry",
                "ConcurrencyLimit stands outside Retry, so that an operation keeps its place while "
                "it only waits for its next attempt.",
                "Put .limit_concurrency() after .retry().",
            )
