"""Repeat operations that failed with a transient error."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.errors import CircuitOpen, ConfigurationError, StoreUnavailable
from kvwrap.layers.base import (
    ABSENT,
    Around,
    Call,
    Entry,
    Finding,
    Layer,
    Passage,
    Store,
    add_succeeded,
    checked_count,
    checked_errors,
    checked_rng,
    checked_seconds,
    counter,
    matches,
    take,
)

T = TypeVar("T")

_ONLY_IF_NAMED = (CircuitOpen,)
"""Retried only if `on` names it: a breaker opens to prevent further attempts."""


class Retry(Around):
    """Repeats operations that failed, with exponential backoff and full jitter.

    The wait before attempt n+1 is uniform in [0, `wait` · 2ⁿ⁻¹] seconds, and the upper bound
    never exceeds `max_wait` ("full jitter": Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015).

    A conditional write that failed may have been carried out. It is never repeated blindly:
    the entry is read first. If it has the version of this write, the write happened and
    succeeds. If it has what the write expected, the write did not happen, and it is
    attempted again. Otherwise the error is raised. So `increment` never counts twice. A
    repeated `delete` may return False for a key that its own first attempt removed, and a
    repeated `delete_where` returns the number of entries that its last attempt removed.

    Args:
        attempts: The most attempts, including the first.
        on: The errors that are retried. `CircuitOpen` is retried only if it is named itself.
        wait: Upper bound of the first wait, in seconds.
        max_wait: Upper bound of every wait, in seconds.
        timeout: Seconds after the start of the first attempt after which no further attempt
            begins; `None` for no limit. A `Timeout` inside bounds an attempt that hangs.
        rng: Source of randomness; by default a new `random.Random`.

    Attributes:
        retried: Number of attempts after the first, of all calls.
        given_up: Number of calls that failed after their last attempt.

    The error of the last attempt is raised unchanged, with a note of how many attempts there
    were. Cancellation takes effect at once, during an attempt and during a wait.
    """

    passage = Passage(read="is repeated when it fails, after a growing wait")
    traits = frozenset({"retries"})
    finding_codes = frozenset({"retry-outside-journal", "retry-twice"})
    figures = (
        counter("retry.attempts", "{attempt}", "Attempts after the first.", path="retried"),
        counter("retry.given_up", "{call}", "Calls that failed after their last attempt."),
    )
    retried = 0
    given_up = 0

    def __init__(
        self,
        attempts: int = 3,
        *,
        on: type[Exception] | Sequence[type[Exception]] = (StoreUnavailable,),
        wait: float = 0.1,
        max_wait: float = 5.0,
        timeout: float | None = 60.0,
        rng: random.Random | None = None,
    ) -> None:
        self.attempts = checked_count(attempts, "attempts")
        self.on = checked_errors(on, "on")
        self.wait = checked_seconds(wait, "wait", zero=True)
        self.max_wait = checked_seconds(max_wait, "max_wait", zero=True)
        if self.max_wait < self.wait:
            raise ConfigurationError(
                f"`max_wait` must be at least `wait`; got max_wait={max_wait} and wait={wait}"
            )
        self.timeout = None if timeout is None else checked_seconds(timeout, "timeout")
        self._uniform = checked_rng(rng).uniform

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        began = self.clock.monotonic()
        try:
            return await call()
        except self.on as error:
            if self.attempts == 1 or not self._is_transient(error):
                raise
            return await self._retry(call, began, error)

    async def _retry(self, call: Call[T], began: float, error: Exception) -> T:
        """Make the attempts after the first one, which failed with `error`."""
        succeeded = set(getattr(error, "succeeded", None) or ())
        attempt = 1
        while self._is_transient(error) and attempt < self.attempts:
            longest = min(self.wait * 2.0 ** min(attempt - 1, 64), self.max_wait)
            pause = self._uniform(0.0, longest)
            if self.timeout is not None and self.clock.monotonic() - began + pause > self.timeout:
                break
            await self.clock.sleep(pause)
            attempt += 1
            self.retried += 1
            try:
                if call.expected is None:
                    return await call()
                remaining = await self._find_remaining(call)
                if remaining is not None:
                    result: T = await _call_remaining(call, remaining)
                    return result
            except self.on as failure:
                error = failure
                succeeded.update(getattr(failure, "succeeded", None) or ())
            else:
                error.add_note("whether it happened is unknown: another write came after it")
                break
        self.given_up += 1
        error.add_note(f"{self.name} gave up {call.operation} after {attempt} attempts")
        if succeeded:
            # Keys that one attempt changed stay changed, even if a later attempt failed.
            add_succeeded(error, call.keys, succeeded)
        raise error

    async def _find_remaining(self, call: Call[Any]) -> list[int] | None:
        """Return the indexes of the keys for which a conditional operation has not happened.

        Returns None if that cannot be determined for one of them.
        """
        entries: Sequence[Entry | None] = (
            call.arguments[2] if call.operation == "write" else [None] * len(call.keys)
        )
        remaining = []
        stored = await self.inner.read(call.collection, call.keys)
        for index, (current, entry, expected) in enumerate(
            zip(stored, entries, call.expected or (), strict=True)
        ):
            version = None if current is None else current.version
            if entry is not None and version == entry.version != expected:
                continue
            if expected is None or version == (None if expected is ABSENT else expected):
                remaining.append(index)
            else:
                return None
        return remaining

    def _is_transient(self, error: Exception) -> bool:
        return matches(error, self.on, _ONLY_IF_NAMED)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("retries" in layer.traits for layer in above):
            yield Finding(
                "retry-twice",
                "There are two retry layers. The inner one repeats every attempt of the outer one, "
                "so attempts multiply while the backend is down.",
                "Remove one .retry().",
            )
        if any("journals" in layer.traits for layer in below):
            yield Finding(
                "retry-outside-journal",
                "Retry is outside a layer that acknowledges writes from a journal, so it sees the "
                "journal's failures and never the backend's.",
                "Put .retry() after that layer.",
            )


async def _call_remaining(call: Call[Any], indexes: Sequence[int]) -> Any:
    """Run a conditional operation for the keys at these indexes; for the others it happened."""
    results = [True] * len(call.keys)
    if indexes:
        collection, *batches = call.arguments
        parts = [take(batch, indexes) for batch in batches]
        for index, result in zip(indexes, await call.forward(collection, *parts), strict=True):
            results[index] = result
    return results
