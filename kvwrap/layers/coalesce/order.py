"""The order of changes of one key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import QualifiedKey
from kvwrap.layers.coalesce.waiters import Waiter

T = TypeVar("T")
Then = Callable[[], object]


class Change:
    """A change of one or more keys, from when it is asked for until it has ended.

    Attributes:
        slots: What it changes.
        entry: What a put puts, `None` for other changes.
        answers: Who waits for a put or a removal that is sent with others.
        has_left: Whether it is on its way to the backend.
        is_over: Whether it has ended.
        then: What is to be done when it has ended.
    """

    __slots__ = ("entry", "has_left", "is_over", "qualified_keys", "then", "waiters")

    def __init__(self, qualified_keys: Sequence[QualifiedKey], entry: Entry | None = None) -> None:
        self.qualified_keys = qualified_keys
        self.entry = entry
        self.waiters: list[Waiter] = []
        self.then: list[Then] = []
        self.has_left = False
        self.is_over = False


class Order:
    """Which change of each key was asked for last, of those that have not ended.

    Each change begins when the one before it has ended, on whichever of its keys; and what
    was asked for after it, when it has. So every key's changes are a queue, and since each
    joins its queues in one step, no two wait for each other.
    """

    def __init__(self) -> None:
        self.last: dict[QualifiedKey, Change] = {}

    def append(self, change: Change, begin: Then) -> None:
        """Queue a change, and call `begin` at its turn, which may be now."""
        earlier = self.before(change.qualified_keys)
        self.last.update(dict.fromkeys(change.qualified_keys, change))
        _after(earlier, begin)

    def before(self, qualified_keys: Iterable[QualifiedKey]) -> set[Change]:
        """The changes that are to end first."""
        last = self.last
        return (
            {last[qualified] for qualified in qualified_keys if qualified in last}
            if last
            else set()
        )

    async def ended(self, changes: set[Change]) -> None:
        """Wait until all of these have ended."""
        if changes:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            _after(changes, partial(_resolve, future))
            await future

    async def within(
        self, qualified_keys: Sequence[QualifiedKey], call: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do a change in its turn, and give back what it gives."""
        earlier = self.before(qualified_keys)
        change = Change(qualified_keys)
        change.has_left = True
        self.last.update(dict.fromkeys(qualified_keys, change))
        try:
            await self.ended(earlier)
            return await call()
        finally:
            # Cancelled, it may have ended before those that it waited for.
            _after({other for other in earlier if not other.is_over}, partial(self.over, change))

    def over(self, change: Change) -> None:
        """Let those begin that this change kept waiting."""
        change.is_over = True
        for qualified in change.qualified_keys:
            if self.last.get(qualified) is change:
                del self.last[qualified]
        for then in change.then:
            then()


def _after(changes: set[Change], then: Then) -> None:
    left = len(changes)
    if not left:
        then()
        return

    def one_ended() -> None:
        nonlocal left
        left -= 1
        if not left:
            then()

    for change in changes:
        change.then.append(one_ended)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
