"""Keeps what a sender sends apart from operations that change the same keys at the target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.layers.shared.journal.change import Change

_Keys = frozenset[QualifiedKey] | None
"""The keys that an operation changes; `None` stands for all."""


class Exclusion:
    """Lets either a call of the sender or operations change a key at the target, never both.

    A change is served from the journal until it has been sent and forgotten. If an operation
    replaced it at the target before that, reads would return the change after the operation, and
    stop to do so later. Operations do not wait for each other. An instance belongs to one event
    loop and has one sender.
    """

    def __init__(self) -> None:
        self._operations: dict[object, _Keys] = {}
        self._left = asyncio.Event()
        self._in_flight: frozenset[QualifiedKey] = frozenset()
        self._landed = asyncio.Event()

    @asynccontextmanager
    async def operation(
        self, collection: Collection, keys: Sequence[str] | None
    ) -> AsyncIterator[None]:
        """Run the block while none of these keys is being sent.

        Args:
            collection: The collection of the keys.
            keys: The keys that the block changes; `None` stands for all, of every collection.
        """
        those = None if keys is None else frozenset((collection, key) for key in keys)
        token = object()
        # The sender waits from now on, so at most the call that it is making is in the way.
        self._operations[token] = those
        try:
            if _overlap(those, self._in_flight):
                await self._landed.wait()
            yield
        finally:
            del self._operations[token]
            self._left.set()

    @asynccontextmanager
    async def sending(self, changes: Sequence[Change]) -> AsyncIterator[None]:
        """Run the block, which sends these changes, while no operation changes their keys."""
        in_flight = frozenset(change.qualified_key for change in changes)
        while any(_overlap(keys, in_flight) for keys in self._operations.values()):
            self._left.clear()
            await self._left.wait()
        self._in_flight, self._landed = in_flight, asyncio.Event()
        try:
            yield
        finally:
            self._in_flight = frozenset()
            self._landed.set()


def _overlap(keys: _Keys, in_flight: frozenset[QualifiedKey]) -> bool:
    return bool(in_flight) and (keys is None or not keys.isdisjoint(in_flight))
