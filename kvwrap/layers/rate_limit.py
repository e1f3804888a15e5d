"""So many operations in a span of time, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import RateLimited
from kvwrap.layers.base import (
    Around,
    Call,
    Finding,
    Layer,
    Store,
    checked_count,
    checked_flag,
    checked_number,
    checked_seconds,
)

T = TypeVar("T")


class RateLimit(Around):
    """Lets `operations` through in `per` seconds, after at most `burst` at once.

    A token bucket, kept as one number by the generic cell rate algorithm (virtual
    scheduling, ITU-T I.371): within any t seconds at most burst + t · operations / per go
    through. Who has to wait reserves the next free moment, so turns come in order.

    Args:
        operations: How many go through in `per` seconds.
        per: Seconds.
        burst: How many may go through at once after a pause; `operations` if left out.
        wait: How long an operation may wait for its turn, in seconds; where it would have
            to wait longer, `RateLimited` is raised at once and nothing is done. `None`
            waits as long as it takes, 0 not at all.
        count_keys: Whether a batch counts as its number of keys, instead of as one. A batch
            over `burst` waits for the whole burst, and those after it pay for the rest.

    Who is cancelled while waiting gives the reservation back, unless others have reserved
    behind it: then that moment goes unused.
    """

    traits = frozenset({"limits_rate"})
    finding_codes = frozenset({"rate-limit-outside-retry"})

    def __init__(
        self,
        operations: float,
        per: float = 1.0,
        *,
        burst: int | None = None,
        wait: float | None = None,
        count_keys: bool = False,
    ) -> None:
        apart = checked_seconds(per, "per") / checked_number(operations, "operations")
        self.interval = checked_seconds(apart, "per / operations")
        if burst is None:
            burst = max(1, int(operations))
        self.burst = checked_count(burst, "burst")
        self.wait = None if wait is None else checked_seconds(wait, "wait", zero=True)
        self.count_keys = checked_flag(count_keys, "count_keys")
        self._next = float("-inf")

    async def around(self, call: Call[T]) -> T:
        weight = len(call.keys) or 1 if self.count_keys else 1
        now = self.clock.monotonic()
        before = max(self._next, now)
        # `before` is when the bucket would be full again; with `burst` tokens of room this
        # operation may go that much earlier.
        room = (self.burst - min(weight, self.burst)) * self.interval
        seconds = before - now - room
        if seconds > 0:
            if self.wait is not None and seconds > self.wait:
                raise RateLimited(
                    f"{call.operation} would have to wait {seconds:.3g} s for its turn, and may "
                    f"wait {self.wait} s",
                    store=self.name,
                    collection=call.collection,
                    key=call.keys[0] if len(call.keys) == 1 else None,
                )
            await self._turn(before, weight, seconds)
        else:
            self._next = before + weight * self.interval
        return await call()

    async def _turn(self, before: float, weight: int, seconds: float) -> None:
        self._next = mine = before + weight * self.interval
        try:
            await self.clock.sleep(seconds)
        except BaseException:
            if self._next == mine:
                self._next = before
            raise

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("retries" in layer.traits for layer in below):
            yield Finding(
                "rate-limit-outside-retry",
                "RateLimit stands outside Retry, so that further attempts are not counted: a "
                "failing backend gets several times the rate.",
                "Put .limit_rate() after .retry().",
            )
