"""Stacks that compress with dictionaries, and parts that watch or interrupt them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kvwrap import Compression, Passthrough, Store, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON
from kvwrap.layers.compression.records import RESERVED
from tests.layers.compression.sample_records import records

DAY = 86_400
TRAINED_ON = [JSON.dumps(value) for value in records(400)]
OTHERS = [JSON.dumps(value) for value in records(400, seed=2)]


class Spy(Passthrough):
    """Counts operations, runs code of a test before a listing, and interrupts an operation."""

    def __init__(self) -> None:
        self.reads: list[tuple[Collection, tuple[str, ...]]] = []
        self.before_listing: Any = None
        self.calls = 0
        self.interrupt_at = -1

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise asyncio.CancelledError

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        self._count()
        self.reads.append((collection, tuple(keys)))
        await asyncio.sleep(0)  # as over a network, other tasks run meanwhile
        return await self.inner.read(collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._count()
        return await self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._count()
        return await self.inner.remove(collection, keys, expected)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if self.before_listing is not None and collection != RESERVED:
            interfere, self.before_listing = self.before_listing, None
            await interfere()
        return await self.inner.list_keys(collection, key_range, cursor)


class Gate(Passthrough):
    """Delays writes of a primary, as a slow network might."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if keys[0].startswith("primary-"):
            self.reached.set()
            await self.opened.wait()
        return await self.inner.write(collection, keys, entries, expected)


def process(base: Store, **arguments: Any) -> Store:
    """Return a stack as another process would have it over the same backend."""
    return stack().compress(**{"dictionaries": True, **arguments}).over(base)


def part(store: Store) -> Compression:
    return store.find(Compression)


async def step_of(base: Store, key: str, collection: Collection = "users") -> bytes:
    found = (await base.read(collection, [key]))[0]
    assert found is not None
    return codec.first_step(found.codec)


async def ids_at_rest(base: Store) -> set[str]:
    page = await base.list_keys(RESERVED, KeyRange(), None)
    return {key.removeprefix("dictionary-") for key in page.keys if key.startswith("dictionary-")}
