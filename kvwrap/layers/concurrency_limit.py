"""Limit how many operations run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import RateLimited
from kvwrap.layers.base import (
    Around,
    Call,
    Finding,
    Layer,
    Passage,
    Store,
    checked_count,
    checked_seconds,
    gauge,
    is_abandoned,
    time_limit,
)
from kvwrap.layers.shared.limits import LIMIT_FIGURES

T = TypeVar("T")


class ConcurrencyLimit(Around):
    """Lets at most `limit` operations run at once; others wait in order of arrival (a bulkhead).

    A batch is one operation. An operation that is cancelled while it waits leaves the queue.
    One that is cancelled while it runs frees its place.

    Args:
        limit: How many operations run at once.
        wait: How long an operation waits for its turn, in seconds of the event loop. Then
            `RateLimited` is raised, and nothing has been done. `None` waits without limit, 0
            does not wait.

    Attributes:
        waits: Number of operations that had to wait.
        rejected: Number of operations that got no place.
    """

    passage = Passage(read="waits while too many calls are in progress")
    traits = frozenset({"limits_rate"})
    finding_codes = frozenset({"concurrency-limit-outside-retry"})
    figures = (
        *LIMIT_FIGURES,
        gauge("limit.running", "{call}", "Calls that run now.", path="active"),
    )
    waits = 0
    rejected = 0

    def __init__(self, limit: int, *, wait: float | None = None) -> None:
        self.limit = checked_count(limit, "limit")
        self.wait = None if wait is None else checked_seconds(wait, "wait", zero=True)
        self._reset(None)

    def _reset(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Operations that an earlier event loop left unfinished hold no place any more.
        self._loop = loop
        self._semaphore = asyncio.Semaphore(self.limit)
        self._active = 0
        self._waiting = 0

    @property
    def active(self) -> int:
        """Number of operations that run now."""
        return self._active

    @property
    def waiting(self) -> int:
        """Number of operations that wait for their turn."""
        return self._waiting

    @property
    def idle(self) -> bool:
        """True if no operation runs or waits for its turn, but for those of a stopped loop."""
        return is_abandoned(self._loop) or not (self._active or self._waiting)

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset(loop)
        semaphore = self._semaphore
        if semaphore.locked():
            await self._wait_for_place(semaphore, call)
        else:
            await semaphore.acquire()
        self._active += 1
        try:
            return await call()
        finally:
            if semaphore is self._semaphore:
                self._active -= 1
            semaphore.release()

    async def _wait_for_place(self, semaphore: asyncio.Semaphore, call: Call[T]) -> None:
        if self.wait == 0:
            raise self._rejection(call)
        self.waits += 1
        self._waiting += 1
        try:
            with time_limit(self.wait):
                await semaphore.acquire()
        except TimeoutError:
            raise self._rejection(call) from None
        finally:
            if semaphore is self._semaphore:
                self._waiting -= 1

    def _rejection(self, call: Call[T]) -> RateLimited:
        self.rejected += 1
        return RateLimited(
            f"{call.operation} got no place within wait={self.wait} s, because "
            f"limit={self.limit} operations are running",
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
                "ConcurrencyLimit is outside Retry, so an operation occupies its place while it "
                "only waits for its next attempt.",
                "Put .limit_concurrency() after .retry().",
            )
