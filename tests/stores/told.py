"""What a store tells of changes, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from kvwrap import Change, ChangeKind, Store
from kvwrap.core.changes import Scope, Subscription

BOUND: Final = 0.3
"""Seconds in a third of which the link is checked."""

PATIENCE: Final = 60
"""Seconds for something to be told, on a machine that runs many tests at once."""


class Told:
    """Collects the changes that a store tells.

    Attributes:
        changes: All changes so far.
    """

    def __init__(self, store: Store, scope: Scope | None = None) -> None:
        self._store = store
        self._scope = scope or Scope(bound=BOUND)
        self._taken = 0
        self._subscription: Subscription | None = None
        self.changes: list[Change] = []

    @property
    def names(self) -> set[tuple[str | None, str]]:
        """The names that were told since the last `take`."""
        told = self.changes[self._taken :]
        return {(change.collection, change.key) for change in told if change.key is not None}

    @property
    def kinds(self) -> set[ChangeKind]:
        """The kinds that were told."""
        return {change.kind for change in self.changes}

    @property
    def losses(self) -> int:
        """How often anything may have changed."""
        return sum(change.kind is ChangeKind.LOST for change in self.changes)

    @property
    def heard_at(self) -> float:
        """The moment before which everything was told."""
        assert self._subscription is not None
        return self._subscription.heard_at

    def take(self) -> set[tuple[str | None, str]]:
        """Return the names that were told since the last call."""
        names, self._taken = self.names, len(self.changes)
        return names

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def hears(
        self, name: tuple[str | None, str], write: Callable[[], Awaitable[object] | object]
    ) -> None:
        """Write until it is told, again after each loss: a busy machine may cut the link."""
        self.take()
        while name not in self.names:
            losses = self.losses
            written = write()
            if isinstance(written, Awaitable):
                await written
            await self.until(partial(self._tells, name, losses))

    def _tells(self, name: tuple[str | None, str], losses: int) -> bool:
        return name in self.names or self.losses > losses

    async def open(self) -> None:
        """Begin."""
        self._subscription = await self._store.subscribe(self._scope, self.changes.append)

    async def close(self) -> None:
        """End."""
        if self._subscription is not None:
            await self._subscription.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Arrivals(list[Change]):
    """What a listener was told, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    def add(self, change: Change) -> None:
        """Add a change, as the listener of a subscription."""
        self.append(change)
        self._arrived.set()

    async def until(self, is_enough: Callable[[list[Change]], object]) -> None:
        """Wait until this is true of all that were told."""
        async with asyncio.timeout(60):
            while not is_enough(self):
                self._arrived.clear()
                await self._arrived.wait()


def put(key: str) -> Change:
    """Return the change that a put of a key is told as."""
    return Change(ChangeKind.PUT, None, key)
