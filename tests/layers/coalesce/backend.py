"""A backend that records its calls, for the tests of Coalesce."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from kvwrap import CorruptEntry, MemoryStore, ValueTooLarge
from kvwrap.core.entry import Entry
from kvwrap.testing import ManualClock

settle = ManualClock.settle


class Backend(MemoryStore):
    """Records its calls, can be held back, and refuses some keys."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str | None, tuple[str, ...]]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.bad: set[str] = set()

    async def _go(self, call: str, collection: Any, keys: Sequence[str]) -> None:
        self.calls.append((call, collection, tuple(keys)))
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        for at, key in enumerate(keys):
            if key in self.bad:
                error = CorruptEntry if call == "read" else ValueTooLarge
                raise error("refused", store="backend", key=key, succeeded=keys[:at])

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        await self._go("read", collection, keys)
        return await super().read(collection, keys)

    async def write(
        self, collection: Any, keys: Sequence[str], entries: Any, expected: Any = None
    ) -> list[bool]:
        await self._go("write" if expected is None else "swap", collection, keys)
        return await super().write(collection, keys, entries, expected)

    async def remove(self, collection: Any, keys: Sequence[str], expected: Any = None) -> Any:
        await self._go("remove", collection, keys)
        return await super().remove(collection, keys, expected)

    async def touch(self, collection: Any, keys: Sequence[str], expires: Any) -> list[bool]:
        # `touch` of `MemoryStore` reads and writes; these calls are not recorded.
        before = [*self.calls, ("touch", collection, tuple(keys))]
        try:
            return await super().touch(collection, keys, expires)
        finally:
            self.calls = before


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)
