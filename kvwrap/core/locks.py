"""A lock per name, made when it is wanted and gone when nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager


class KeyedLocks:
    """Lets one task at a time through for each name."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: Hashable) -> AsyncIterator[None]:
        """Wait for the name's turn, and keep it for the length of the block."""
        lock, waiting = self._held.get(name) or (asyncio.Lock(), 0)
        self._held[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._held[name]
            if waiting == 1:
                del self._held[name]
            else:
                self._held[name] = (lock, waiting - 1)

    @asynccontextmanager
    async def hold_all(self, names: Iterable[Hashable]) -> AsyncIterator[None]:
        """As `hold`, for several names, in this order; one that all callers keep, or they jam."""
        async with AsyncExitStack() as held:
            for name in names:
                await held.enter_async_context(self.hold(name))
            yield

    def __len__(self) -> int:
        return len(self._held)
