"""Faults and delays on purpose, the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.errors import ConfigurationError, KvwrapError, StoreTimeout, StoreUnavailable
from kvwrap.layers.base import (
    PRIMITIVES,
    Around,
    Call,
    Capability,
    Finding,
    Layer,
    Store,
    checked_errors,
    checked_operations,
    checked_seconds,
    checked_share,
)

T = TypeVar("T")


class Chaos(Around):
    """Makes operations fail, lose their answer, stop half-way or take time, for tests.

    What happens to the nth operation follows from `seed` and n alone, so one order of
    calls meets the same faults in every run.

    Args:
        seed: Where the randomness begins.
        failure_rate: The share of operations, from 0 to 1, that fail without being done.
        lost_rate: The share that are done and then fail all the same: the answer was lost.
        partial_rate: The share of batches of which only a first part is done before they
            fail; the error's `done` names those keys.
        delay: Seconds before the operation; two numbers are bounds to draw from.
        reply_delay: Seconds between the operation and its answer, likewise.
        operations: The primitives concerned (see `kvwrap.core.primitives`); all if left out.
        errors: Classes of errors to raise; one is drawn for every fault.
        fail_after: After so many operations the backend is down (see `down`).

    Attributes:
        down: While True, every operation concerned fails without being done. Tests set it
            on the running part: `store.find(Chaos).down = True`.
        calls: How many operations concerned there have been.
        faults: How many of them failed.

    Delays pass on the store's clock.
    """

    traits = frozenset({"injects_faults"})
    finding_codes = frozenset({"chaos-over-real-data"})

    def __init__(
        self,
        seed: int = 0,
        *,
        failure_rate: float = 0.0,
        lost_rate: float = 0.0,
        partial_rate: float = 0.0,
        delay: float | tuple[float, float] = 0.0,
        reply_delay: float | tuple[float, float] = 0.0,
        operations: Iterable[str] | None = None,
        errors: type[Exception] | Sequence[type[Exception]] = (StoreUnavailable, StoreTimeout),
        fail_after: int | None = None,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | str | bytes):
            raise ConfigurationError(f"a seed is a number or a string, not {seed!r}")
        self._random = random.Random(seed)
        self._failure_rate = checked_share(failure_rate, "failure_rate")
        self._lost_rate = checked_share(lost_rate, "lost_rate")
        self._partial_rate = checked_share(partial_rate, "partial_rate")
        if failure_rate + lost_rate + partial_rate > 1:
            raise ConfigurationError("failure_rate, lost_rate and partial_rate are over 1 together")
        self._delay = _bounds(delay, "delay")
        self._reply_delay = _bounds(reply_delay, "reply_delay")
        names = PRIMITIVES if operations is None else operations
        self._operations = checked_operations(names)
        if not self._operations:
            raise ConfigurationError("operations are primitives, at least one")
        self._errors = checked_errors(errors, "errors")
        if fail_after is not None and (type(fail_after) is not int or fail_after < 0):
            raise ConfigurationError(f"fail_after is a whole number from 0, not {fail_after!r}")
        self._fail_after = fail_after
        self.down = False
        self.calls = 0
        self.faults = 0

    async def around(self, call: Call[T]) -> T:
        if call.operation not in self._operations:
            return await call()
        if self.calls == self._fail_after:
            self.down = True
        self.calls += 1
        # All draws at once and always as many, so that faults do not depend on what other
        # operations do in the meantime.
        draw, share, kind, before, after = (self._random.random() for _ in range(5))
        error = self._errors[int(kind * len(self._errors))]
        await self._sleep(self._delay, before)
        if self.down or draw < self._failure_rate:
            raise self._fault(error, call, "failed before it was done")
        draw -= self._failure_rate
        if draw < self._partial_rate and len(call.keys) > 1:
            size = int(share * len(call.keys))
            if size:
                await _first(call, size)()
            done = call.keys[:size]
            raise self._fault(error, call, "failed in the middle of the batch", done)
        result = await call()
        await self._sleep(self._reply_delay, after)
        if 0 <= draw - self._partial_rate < self._lost_rate:
            raise self._fault(error, call, "was done, and its answer was lost")
        return result

    async def _sleep(self, bounds: tuple[float, float], drawn: float) -> None:
        low, high = bounds
        if high:
            await self.clock.sleep(low + (high - low) * drawn)

    def _fault(
        self,
        kind: type[Exception],
        call: Call[Any],
        what: str,
        done: Sequence[str] | None = None,
    ) -> Exception:
        self.faults += 1
        message = f"{call.operation} {what}, on purpose"
        if not issubclass(kind, KvwrapError):
            return kind(message)
        key = call.keys[0] if len(call.keys) == 1 else None
        return kind(message, store=self.name, collection=call.collection, key=key, succeeded=done)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if base.capabilities & {Capability.PERSISTENT, Capability.SHARED}:
            yield Finding(
                "chaos-over-real-data",
                "Chaos makes operations fail on purpose, over a backend whose data outlives "
                "this process.",
                "Take .chaos() out, or silence this in tests.",
            )


def _first(call: Call[T], size: int) -> Call[T]:
    """The operation for the first keys of its batch."""
    collection, *batches = call.arguments
    parts = (None if batch is None else batch[:size] for batch in batches)
    return Call(call.operation, call.forward, (collection, *parts))


def _bounds(value: object, name: str) -> tuple[float, float]:
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ConfigurationError(f"{name} is seconds, or a lower and an upper bound of them")
    low, high = (checked_seconds(end, name, zero=True) for end in ends)
    if low > high:
        raise ConfigurationError(f"{name} goes from {low} down to {high}")
    return low, high
