"""Inject faults and delays for tests, the same ones in every run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.errors import ConfigurationError, KvwrapError, StoreTimeout, StoreUnavailable
from kvwrap.layers.base import (
    CALLS,
    Around,
    Call,
    Finding,
    Layer,
    Passage,
    Store,
    checked_errors,
    checked_operations,
    checked_seconds,
    checked_share,
    leaves_process,
)

T = TypeVar("T")


class Chaos(Around):
    """Makes operations fail, lose their response, stop half-way or take time, for tests.

    The fault of the nth operation depends only on `seed` and n. The same order of calls
    therefore meets the same faults in every run.

    Args:
        seed: Seed of the random numbers.
        failure_rate: Share of operations, from 0 to 1, that fail before anything is done.
        lost_rate: Share of operations that are done and then fail, as if the response was
            lost.
        partial_rate: Share of batches that are done for their first keys only and then fail;
            the error's `succeeded` names those keys.
        delay: Seconds to wait before an operation; two numbers are the bounds of a random
            wait.
        reply_delay: Seconds to wait after an operation, likewise.
        operations: Names of the affected primitives (see `kvwrap.core.primitives`); by
            default all.
        errors: Error classes to raise; one is drawn for each fault.
        fail_after: Number of affected operations after which the backend is down (see
            `down`).

    Attributes:
        down: While True, every affected operation fails before anything is done. Tests set
            it on the running layer: `store.find(Chaos).down = True`.
        calls: Number of affected operations so far.
        faults: Number of them that failed.

    Delays pass on the store's clock.
    """

    passage = Passage(read="fails, waits or loses its response, as it was told")
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
            raise ConfigurationError(f"`seed` must be an integer, str or bytes; got {seed!r}")
        self._random = random.Random(seed)
        self._failure_rate = checked_share(failure_rate, "failure_rate")
        self._lost_rate = checked_share(lost_rate, "lost_rate")
        self._partial_rate = checked_share(partial_rate, "partial_rate")
        if failure_rate + lost_rate + partial_rate > 1:
            raise ConfigurationError(
                "`failure_rate`, `lost_rate` and `partial_rate` must add up to at most 1; got "
                f"{failure_rate + lost_rate + partial_rate:.3g}"
            )
        self._delay = _bounds(delay, "delay")
        self._reply_delay = _bounds(reply_delay, "reply_delay")
        names = CALLS if operations is None else operations
        self._operations = checked_operations(names)
        if not self._operations:
            raise ConfigurationError(
                "`operations` must have at least one name such as 'read'; got none"
            )
        self._errors = checked_errors(errors, "errors")
        if fail_after is not None and (type(fail_after) is not int or fail_after < 0):
            raise ConfigurationError(
                f"`fail_after` must be a whole number, at least 0; got {fail_after!r}"
            )
        self._fail_after = fail_after
        self.down = False
        self.calls = 0
        self.faults = 0

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        if call.operation not in self._operations:
            return await call()
        if self.calls == self._fail_after:
            self.down = True
        self.calls += 1
        # The same number of draws for every operation, all at once. So faults do not depend
        # on operations that run concurrently.
        draw, share, error_draw, before, after = (self._random.random() for _ in range(5))
        error_class = self._errors[int(error_draw * len(self._errors))]
        await self._sleep(self._delay, before)
        if self.down or draw < self._failure_rate:
            raise self._fault(error_class, call, "failed before it was done")
        draw -= self._failure_rate
        if draw < self._partial_rate and len(call.keys) > 1:
            size = int(share * len(call.keys))
            if size:
                await _truncate(call, size)()
            succeeded = call.keys[:size]
            raise self._fault(error_class, call, "failed in the middle of the batch", succeeded)
        result = await call()
        await self._sleep(self._reply_delay, after)
        if 0 <= draw - self._partial_rate < self._lost_rate:
            raise self._fault(error_class, call, "was done, and its response was lost")
        return result

    async def _sleep(self, bounds: tuple[float, float], draw: float) -> None:
        low, high = bounds
        if high:
            await self.clock.sleep(low + (high - low) * draw)

    def _fault(
        self,
        error_class: type[Exception],
        call: Call[Any],
        fault: str,
        succeeded: Sequence[str] | None = None,
    ) -> Exception:
        self.faults += 1
        message = f"{call.operation} {fault} (injected fault)"
        if not issubclass(error_class, KvwrapError):
            return error_class(message)
        return error_class(
            message,
            store=self.name,
            collection=call.collection,
            key=call.keys[0] if len(call.keys) == 1 else None,
            succeeded=succeeded,
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if leaves_process(base):
            yield Finding(
                "chaos-over-real-data",
                "Chaos makes operations fail on purpose, over a backend whose data outlives "
                "the process.",
                "Remove .chaos(), or silence this finding in tests.",
            )


def _truncate(call: Call[T], size: int) -> Call[T]:
    """Return the call for the first keys of its batch only."""
    collection, *batches = call.arguments
    parts = (None if batch is None else batch[:size] for batch in batches)
    return Call(call.operation, call.forward, (collection, *parts))


def _bounds(value: object, name: str) -> tuple[float, float]:
    bounds = value if isinstance(value, tuple | list) else (value, value)
    if len(bounds) != 2:
        raise ConfigurationError(
            f"`{name}` must be a number of seconds, or a lower and an upper bound; got {value!r}"
        )
    low, high = (checked_seconds(bound, name, zero=True) for bound in bounds)
    if low > high:
        raise ConfigurationError(
            f"the lower bound of `{name}` must come first; got ({low}, {high})"
        )
    return low, high
