"""Stacks with tags, and what reaches their backends."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kvwrap import MemoryStore, Stack, Store, stack
from kvwrap.layers.base import Around, Call
from kvwrap.stores.mapping import MappingStore
from kvwrap.testing import ManualClock

SECRET = b"s" * 16
RECORDS = "kvwrap.tags"


class Counting(Around):
    """Counts the calls of each primitive, by its name, and those for records of tags apart."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.error: Exception | None = None

    async def around(self, call: Call[Any]) -> Any:
        is_record = call.collection == RECORDS
        self.calls[f"{call.operation} of records" if is_record else call.operation] += 1
        if is_record and self.error is not None:
            raise self.error
        return await call()


def tagged(clock: ManualClock, inside: Stack | None = None) -> Store:
    """Return a stack with tags over a store in memory, whose calls are counted."""
    return ((stack().tags(SECRET) + (inside or stack())).layer(Counting())).over(
        MemoryStore(clock=clock)
    )


def unwatched(clock: ManualClock) -> MappingStore:
    """Return a store that several stacks may be over, and that does not tell changes."""
    return MappingStore({}, clock=clock)
