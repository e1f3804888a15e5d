"""Limit how long an operation may take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from kvwrap.errors import ConfigurationError, KvwrapError, StoreTimeout
from kvwrap.layers.base import (
    Around,
    Call,
    Finding,
    Layer,
    Passage,
    Store,
    TimeLimit,
    TimeLimits,
    checked_operations,
    checked_seconds,
    counter,
)

T = TypeVar("T")


class Timeout(Around):
    """Cancels an operation that takes too long, and raises `StoreTimeout`.

    The backend may still carry out the operation that was cancelled. Time is the event
    loop's.

    Args:
        seconds: How long one operation may take. A batch is one operation, and so is a page
            of keys.
        operations: Seconds by the name of a primitive, for those with another limit; `None`
            for no limit: `{"drop_all": None}`.

    Attributes:
        timed_out: Number of calls that took too long.

    The caller's cancellation, and a shorter timeout of the caller's own, pass through
    unchanged.
    """

    passage = Passage(read="is cancelled when it takes too long")
    traits = frozenset({"times_out"})
    finding_codes = frozenset({"timeout-outside-limit", "timeout-outside-retry"})
    figures = (
        counter(
            "timeouts", "{call}", "Calls that took too long and were cancelled.", path="timed_out"
        ),
    )
    timed_out = 0

    def __init__(
        self, seconds: float = 5.0, *, operations: Mapping[str, float | None] | None = None
    ) -> None:
        self.limit = checked_seconds(seconds, "seconds")
        limits = {} if operations is None else operations
        if not isinstance(limits, Mapping):
            raise ConfigurationError(
                "`operations` must be a mapping of primitives to seconds such as "
                f"{{'list_keys': 30}}; got {type(limits).__name__}"
            )
        checked_operations(limits)
        self._limits = {
            name: None if value is None else checked_seconds(value, name)
            for name, value in limits.items()
        }
        self._made: TimeLimits | None = None

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    def _within(self, seconds: float | None) -> TimeLimit:
        if self._made is None or self._made.loop is not asyncio.get_running_loop():
            self._made = TimeLimits()
        return self._made.within(seconds)

    async def around(self, call: Call[T]) -> T:
        seconds = self._limits.get(call.operation, self.limit)
        limit = self._within(seconds)
        try:
            with limit:
                return await call()
        except TimeoutError as error:
            # A timeout of the backend or of another layer passes unchanged.
            if isinstance(error, KvwrapError) or not limit.has_expired:
                raise
            self.timed_out += 1
            raise StoreTimeout(
                f"{call.operation} took longer than {seconds} s",
                store=self.name,
                collection=call.collection,
                key=call.keys[0] if len(call.keys) == 1 else None,
            ) from error

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        traits = [layer.traits for layer in below]
        retries = [index for index, names in enumerate(traits) if "retries" in names]
        if retries and not any("times_out" in names for names in traits[retries[-1] :]):
            yield Finding(
                "timeout-outside-retry",
                "Timeout is outside Retry, so it covers all attempts and waits together: a first "
                "attempt that hangs leaves no time for a second.",
                "Put .timeout() after .retry(), or one on each side.",
            )
        if any("limits_rate" in names for names in traits):
            yield Finding(
                "timeout-outside-limit",
                "Timeout is outside a limit, so waiting in the limit counts as a slow backend.",
                "Put .timeout() after the limit. The limit's own wait= bounds the waiting.",
            )
