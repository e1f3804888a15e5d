"""Stores that read-through tests put under and beside the layer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kvwrap import Capability, MemoryStore, ReadThrough, StoreUnavailable
from kvwrap.core.entry import Entry
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.tier import Tier


class Far(MemoryStore):
    """A far store that counts its calls, can be held back, and can be made to fail."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock=clock)
        self.reads: list[tuple[str, ...]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None

    async def _go(self) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        self.reads.append(tuple(keys))
        await self._go()
        return await super().read(collection, keys)

    async def write(self, *args: Any) -> list[bool]:
        await self._go()
        return await super().write(*args)


class FailingNear(MemoryStore):
    """A near store whose named calls fail."""

    failing: frozenset[str] = frozenset()

    def fail_if_asked(self, call: str) -> None:
        if call in self.failing:
            raise StoreUnavailable("down", store="near")

    async def setup(self) -> None:
        self.fail_if_asked("setup")

    async def read(self, *args: Any) -> list[Entry | None]:
        self.fail_if_asked("read")
        return await super().read(*args)

    async def write(self, *args: Any) -> list[bool]:
        self.fail_if_asked("write")
        return await super().write(*args)

    async def remove(self, *args: Any) -> list[bool]:
        self.fail_if_asked("remove")
        return await super().remove(*args)

    async def drop_range(self, *args: Any) -> int:
        self.fail_if_asked("drop_range")
        return await super().drop_range(*args)

    async def drop(self, collection: Any) -> bool:
        self.fail_if_asked("drop")
        return await super().drop(collection)

    async def drop_all(self) -> bool:
        self.fail_if_asked("drop_all")
        return await super().drop_all()


class Shared(MemoryStore):
    """Seems to be on a server that cannot tell changes."""

    capabilities = (MemoryStore.capabilities - {Capability.WATCH}) | {
        Capability.SHARED,
        Capability.PERSISTENT,
    }


class Watched(MemoryStore):
    """Seems to be on a server that tells changes."""

    capabilities = MemoryStore.capabilities | {Capability.SHARED, Capability.PERSISTENT}


class Persistent(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


def over(far: Far, near: Any = None, **options: Any) -> Any:
    # Most tests are of copies that nobody ends but this process, or time.
    options.setdefault("coherence", "ttl")
    return ReadThrough(
        (lambda: MemoryStore(clock=far.clock)) if near is None else near, **options
    ).over(far)


def counts(store: Any) -> Any:
    return store.find(ReadThrough).snapshot()


def tier_over(far: Far, near: Any, ttl: Any = None, stale_if_error: Any = None) -> Tier:
    freshness = Freshness(ttl, None, stale_if_error, None, 0.0, None)
    return Tier(near, far, freshness, TierCounts(), "ReadThrough")
