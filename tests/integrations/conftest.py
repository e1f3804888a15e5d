"""A store for the tests of exporters, whose operations take a known time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kvwrap import MemoryStore, Passthrough, Store, stack
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.testing import ManualClock


class Slow(Passthrough):
    """Makes each read take 10 ms of the clock, and fail for the key `bad`."""

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        self.clock.advance(0.010)  # type: ignore[attr-defined]  # the tests' clock
        if "bad" in keys:
            raise ConnectionError("no")
        return await self.inner.read(collection, keys)


@pytest.fixture
def slow_store(clock: ManualClock) -> Store:
    """A store with statistics of the name `s`."""
    return stack().statistics(name="s").layer(Slow()).over(MemoryStore(clock=clock))
