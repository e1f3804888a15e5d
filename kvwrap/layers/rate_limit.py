"""Limit the rate of operations."""

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
    checked_flag,
    checked_number,
    checked_seconds,
    is_abandoned,
)
from kvwrap.layers.shared.limits import LIMIT_FIGURES

T = TypeVar("T")


class RateLimit(Around):
    """Limits the rate with a token bucket: `operations` in `per` seconds, `burst` at once.

    The bucket is kept as one number, by the generic cell rate algorithm (GCRA, virtual
    scheduling, ITU-T I.371). Within any t seconds at most burst + t · operations / per
    operations go through. An operation that must wait reserves the next free moment, so
    turns come in order of arrival.

    Args:
        operations: How many operations go through in `per` seconds.
        per: The period, in seconds.
        burst: How many may go through at once after a pause; by default `operations`, rounded
            down, and at least 1.
        wait: How long an operation may wait for its turn, in seconds. If it would have to
            wait longer, `RateLimited` is raised at once and nothing is done. `None` waits
            without limit, 0 does not wait.
        count_keys: Whether a batch counts as its number of keys, instead of as one. A batch
            larger than `burst` waits for a full bucket, and later operations wait until the
            rest is paid off.

    Attributes:
        waits: Number of operations that had to wait.
        rejected: Number of operations that would have had to wait too long.

    An operation that is cancelled while it waits returns its reservation, unless others have
    reserved later moments already. In that case its moment passes unused.
    """

    passage = Passage(read="waits until the rate allows it")
    traits = frozenset({"limits_rate"})
    finding_codes = frozenset({"rate-limit-outside-retry"})
    figures = LIMIT_FIGURES
    waits = 0
    rejected = 0

    def __init__(
        self,
        operations: float,
        per: float = 1.0,
        *,
        burst: int | None = None,
        wait: float | None = None,
        count_keys: bool = False,
    ) -> None:
        interval = checked_seconds(per, "per") / checked_number(operations, "operations")
        self.interval = checked_seconds(interval, "per / operations")
        if burst is None:
            burst = max(1, int(operations))
        self.burst = checked_count(burst, "burst")
        self.wait = None if wait is None else checked_seconds(wait, "wait", zero=True)
        self.count_keys = checked_flag(count_keys, "count_keys")
        self._full_at = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Number of operations that wait for their turn."""
        return self._waiting

    @property
    def idle(self) -> bool:
        """True if no operation waits for its turn, but for those of a stopped loop."""
        return is_abandoned(self._loop) or not self._waiting

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        tokens = len(call.keys) or 1 if self.count_keys else 1
        now = self.clock.monotonic()
        full_at = max(self._full_at, now)
        # At `full_at` the bucket is full again. This operation may go earlier: as soon as the
        # bucket has its tokens.
        early = (self.burst - min(tokens, self.burst)) * self.interval
        seconds = full_at - now - early
        if seconds > 0:
            if self.wait is not None and seconds > self.wait:
                self.rejected += 1
                raise RateLimited(
                    f"{call.operation} would have to wait {seconds:.3g} s for its turn; it may "
                    f"wait for wait={self.wait} s",
                    store=self.name,
                    collection=call.collection,
                    key=call.keys[0] if len(call.keys) == 1 else None,
                )
            await self._wait_for_turn(full_at, tokens, seconds)
        else:
            self._full_at = full_at + tokens * self.interval
        return await call()

    async def _wait_for_turn(self, full_at: float, tokens: int, seconds: float) -> None:
        self._full_at = reserved = full_at + tokens * self.interval
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._waiting = loop, 0
        self._waiting += 1
        self.waits += 1
        try:
            await self.clock.sleep(seconds)
        except BaseException:
            if self._full_at == reserved:
                self._full_at = full_at
            raise
        finally:
            if loop is self._loop:
                self._waiting -= 1

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("retries" in layer.traits for layer in below):
            yield Finding(
                "rate-limit-outside-retry",
                "RateLimit is outside Retry, so further attempts are not counted: a failing "
                "backend receives several times the rate.",
                "Put .limit_rate() after .retry().",
            )
