"""Another attempt for what failed and may pass."""

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
    Store,
    add_succeeded,
    checked_count,
    checked_errors,
    checked_rng,
    checked_seconds,
    matches,
)

T = TypeVar("T")

_HELD_BACK = (CircuitOpen,)
"""Not tried again unless asked for by name: a breaker is open so that nobody tries."""


class Retry(Around):
    """Tries an operation again when the backend failed, after a growing, random wait.

    The wait before attempt n+1 is drawn evenly from 0 to `wait` · 2ⁿ⁻¹ seconds, at most
    `max_wait` ("full jitter": Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015).

    A compare-and-put that failed may have happened all the same. It is not simply done
    again: the entry is read first, and carries the version of this write (it happened:
    success), or what the write expected (it did not: another attempt), or neither, and
    then the error stands. So `increment` never counts twice. A `delete` done again may say
    False of a key that the first attempt took away.

    Args:
        attempts: How often an operation is tried at most, the first time included.
        on: The errors that may pass. `CircuitOpen` counts only if it is named itself.
        wait: The longest first wait, in seconds.
        max_wait: The longest wait, in seconds.
        timeout: Seconds after the first attempt beyond which no further one begins; `None` for
            no such limit. An attempt that hangs is bounded by a `Timeout` inside.
        rng: Where the randomness comes from.

    The error of the last attempt is raised as it is, with a note of how many there were.
    Cancellation passes at once, in an attempt and in a wait.
    """

    traits = frozenset({"retries"})
    finding_codes = frozenset({"retry-outside-journal", "retry-twice"})

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
            raise ConfigurationError(f"max_wait={max_wait} is below wait={wait}")
        self.timeout = None if timeout is None else checked_seconds(timeout, "timeout")
        self._uniform = checked_rng(rng).uniform

    async def around(self, call: Call[T]) -> T:
        began = self.clock.monotonic()
        try:
            return await call()
        except self.on as error:
            if self.attempts == 1 or not self._may_pass(error):
                raise
            return await self._retry(call, began, error)

    async def _retry(self, call: Call[T], began: float, error: Exception) -> T:
        """Make the attempts after the first, which ended in `error`."""
        succeeded = set(getattr(error, "succeeded", None) or ())
        made = 1
        while self._may_pass(error) and made < self.attempts:
            longest = min(self.wait * 2.0 ** min(made - 1, 64), self.max_wait)
            pause = self._uniform(0.0, longest)
            if self.timeout is not None and self.clock.monotonic() - began + pause > self.timeout:
                break
            await self.clock.sleep(pause)
            made += 1
            try:
                if call.expected is None:
                    return await call()
                rest = await self._not_done(call)
                if rest is not None:
                    result: T = await _call_rest(call, rest)
                    return result
            except self.on as failure:
                error = failure
                succeeded.update(getattr(failure, "succeeded", None) or ())
            else:
                error.add_note("whether it happened is unknown: another write came after it")
                break
        error.add_note(f"{self.name} gave {call.operation} up after {made} attempts")
        if succeeded:
            # What one attempt has carried out stays so, whatever a later one met.
            add_succeeded(error, call.keys, succeeded)
        raise error

    async def _not_done(self, call: Call[Any]) -> list[int] | None:
        """The places in the batch of a conditional operation that are as if it had not happened.

        None where that cannot be told of one of them.
        """
        entries: Sequence[Entry | None] = (
            call.arguments[2] if call.operation == "write" else [None] * len(call.keys)
        )
        rest = []
        found = await self.inner.read(call.collection, call.keys)
        for place, (there, entry, expected) in enumerate(
            zip(found, entries, call.expected or (), strict=True)
        ):
            version = None if there is None else there.version
            if entry is not None and version == entry.version:
                continue
            if expected is None or version == (None if expected is ABSENT else expected):
                rest.append(place)
            else:
                return None
        return rest

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, Exception) and matches(error, self.on, _HELD_BACK)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("retries" in layer.traits for layer in above):
            yield Finding(
                "retry-twice",
                "There are two retry layers: every attempt of the outer one is tried again by the "
                "inner one, so that the attempts multiply while the backend is down.",
                "Leave one .retry().",
            )
        if any("journals" in layer.traits for layer in below):
            yield Finding(
                "retry-outside-journal",
                "Retry stands outside a layer that acknowledges before the backend has it, so that "
                "it sees the journal's failures and never the backend's.",
                "Put .retry() inside that layer.",
            )


async def _call_rest(call: Call[Any], places: Sequence[int]) -> Any:
    """A conditional operation for these places of its batch; the others have happened."""
    done = [True] * len(call.keys)
    if places:
        collection, *batches = call.arguments
        parts = [[batch[place] for place in places] for batch in batches]
        for place, result in zip(places, await call.forward(collection, *parts), strict=True):
            done[place] = result
    return done
