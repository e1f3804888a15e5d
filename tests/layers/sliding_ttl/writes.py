"""A sliding store whose renewals a test can hold back or make fail."""

from __future__ import annotations

import asyncio
from typing import Any

from kvwrap import MemoryStore, Passthrough, SlidingTTL, Stack, Store, stack
from kvwrap.core.primitives import Collection, Expected
from kvwrap.testing import ManualClock

TTL, EVERY = 100.0, 10.0


class Writes(Passthrough):
    """Records writes and touches, which it can hold back or make fail."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[Collection, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def write(
        self,
        collection: Collection,
        keys: Any,
        entries: Any,
        expected: list[Expected] | None = None,
    ) -> list[bool]:
        if expected is not None:
            self.batches.append((collection, len(keys)))
            await self.gate.wait()
            if self.error is not None:
                raise self.error
        return await self.inner.write(collection, keys, entries, expected)

    async def touch(self, *arguments: Any) -> list[bool]:
        await self.gate.wait()
        return await self.inner.touch(*arguments)


def sliding(clock: ManualClock, *, inner: Stack | None = None, **options: Any) -> Store:
    layers = stack().slide_ttl(options.pop("ttl", TTL), **options) + stack(Writes())
    return (layers + (inner or stack())).over(MemoryStore(clock=clock))


async def left(store: Store, key: str = "a", collection: str | None = None) -> float | None:
    """Return the remaining seconds at rest, without a renewal."""
    return (await store.base.ttl(key, collection=collection))[1]


async def renewed(store: Store) -> None:
    await store.find(SlidingTTL).flush()
