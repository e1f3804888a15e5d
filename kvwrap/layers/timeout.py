"""An end to waiting."""

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
    Store,
    checked_operations,
    checked_seconds,
)

T = TypeVar("T")


class Timeout(Around):
    """Gives an operation up when it takes too long, and raises `StoreTimeout`.

    The operation is cancelled, and what it was doing at the backend may happen all the
    same. Time is the event loop's, measured by `asyncio.timeout`.

    Args:
        seconds: How long one operation may take; a batch is one, and so is a page of keys.
        operations: Primitives that have another limit, by name, or none: `{"drop_all": None}`.

    The caller's own cancellation, and a shorter timeout of its own, pass through as they
    are.
    """

    traits = frozenset({"times_out"})
    finding_codes = frozenset({"timeout-outside-limit", "timeout-outside-retry"})

    def __init__(
        self, seconds: float = 5.0, *, operations: Mapping[str, float | None] | None = None
    ) -> None:
        self.limit = checked_seconds(seconds, "seconds")
        own = {} if operations is None else operations
        if not isinstance(own, Mapping):
            raise ConfigurationError("operations are seconds by the name of a primitive")
        checked_operations(own)
        self._own = {
            name: None if value is None else checked_seconds(value, name)
            for name, value in own.items()
        }

    async def around(self, call: Call[T]) -> T:
        seconds = self._own.get(call.operation, self.limit)
        if seconds is None:
            return await call()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await call()
        except TimeoutError as error:
            # One that is not this layer's is the backend's, or another layer's, own.
            if isinstance(error, KvwrapError) or not limit.expired():
                raise
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
        retries = [place for place, of in enumerate(traits) if "retries" in of]
        if retries and not any("times_out" in of for of in traits[retries[-1] :]):
            yield Finding(
                "timeout-outside-retry",
                "Timeout stands outside Retry, so that its seconds are those of all attempts and "
                "waits together: a first attempt that hangs leaves no time for a second.",
                "Put .timeout() after .retry(), or one on each side.",
            )
        if any("limits_rate" in of for of in traits):
            yield Finding(
                "timeout-outside-limit",
                "Timeout stands outside a limit, so that waiting for one's turn counts as the "
                "backend being slow.",
                "Put .timeout() after the limit; the limit's own wait= bounds the waiting.",
            )
