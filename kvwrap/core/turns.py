"""Long work in short parts, with turns of the event loop between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

SLICE: Final = 256
"""Keys of a batch that are processed between two turns of the event loop."""

BYTES_PER_KEY: Final = 1024
"""Bytes of a value that take as long as a small value does."""


class Turns:
    """Tells a long call when other tasks of the event loop should get a turn.

    It counts the work and looks at no clock, so that calls are interleaved in the same way on
    every machine.

        turns = Turns()
        for entry in entries:
            process(entry)
            if turns.are_due(len(entry.body)):
                await turn()

    Between two parts everything else may happen: other changes of the same keys, and the
    cancellation of the call.
    """

    __slots__ = ("_work",)

    def __init__(self) -> None:
        self._work = 0

    def are_due(self, size: int = 0, keys: int = 1) -> bool:
        """Count keys with values of this many bytes. Returns True once after enough work."""
        self._work += keys + size // BYTES_PER_KEY
        if self._work < SLICE:
            return False
        self._work = 0
        return True


class TurnBudget:
    """Bounds what calls do at once, without suspending, within one turn of the event loop.

    A task that calls again and again would otherwise never let another one run.

    Args:
        keys: How many keys may be processed in a turn.
    """

    __slots__ = ("_keys", "_left", "_loop")

    def __init__(self, keys: int) -> None:
        self._keys = self._left = keys
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, keys: int) -> bool:
        """Take as many keys from what is left in this turn. Returns False if they are too many."""
        if keys > self._keys:
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a child that was forked while it ran
            self._loop = None
            return False
        if self._loop is not loop:
            self._loop = loop
            self._left = self._keys
            loop.call_soon(self._renew, loop)
        if keys > self._left:
            return False
        self._left -= keys
        return True

    async def take_next(self, keys: int) -> bool:
        """Take keys that `take` has refused, in the next turn of the event loop.

        Returns False if they are too many for a turn, or other calls have taken what they need.
        """
        if keys > self._keys or self._loop is None:
            return False
        await turn()
        return self.take(keys)

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            self._loop = None


async def turn() -> None:
    """Give every other task that is ready a turn of the event loop."""
    await asyncio.sleep(0)


def slices(count: int) -> Iterator[slice]:
    """Return the slices of a batch of this many keys, to process with a `turn` between them."""
    for start in range(0, count, SLICE):
        yield slice(start, start + SLICE)


async def in_slices(work: Callable[..., T], *sequences: Sequence[Any]) -> list[T]:
    """Return what `map` returns for sequences of equal length, with a `turn` between slices."""
    results: list[T] = []
    for part in slices(len(sequences[0])):
        if part.start:
            await turn()
        results += map(work, *(sequence[part] for sequence in sequences))
    return results


async def first_of_equals(keys: Sequence[str]) -> list[str]:
    """Return the keys, each once, in the order of their first occurrence."""
    unique: dict[str, None] = {}
    for part in slices(len(keys)):
        if part.start:
            await turn()
        unique.update(dict.fromkeys(keys[part]))
    return list(unique)
