"""The workload: fill the store, read it with a skewed distribution, compare every value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

from examples.demo.records import Records

Reads = Any
"""A store, or the bare backend with the same methods `get`, `get_many` and `put_many`."""
Progress = Callable[[int], None]
"""Called with the number of records or reads completed since its last call."""

BATCH = 100
TASKS = 8


class Comparison:
    """Counts values that are equal to their source, and lists those that differ."""

    def __init__(self, source: Records) -> None:
        self.source = source
        self.equal = 0
        self.different: list[tuple[str, str]] = []

    def check(self, collection: str, key: str, value: object) -> None:
        """Compare a value from the store with its record."""
        if value == self.source[collection, key]:
            self.equal += 1
        else:
            self.different.append((collection, key))


async def fill(store: Reads, records: Records, progress: Progress) -> None:
    """Put every record, in batches."""
    for collection, keys in batches(records):
        values = [records[collection, key] for key in keys]
        await store.put_many(keys, values, collection=collection, ttl=3_600)
        progress(len(keys))


async def read(
    store: Reads,
    records: Records,
    reads: int,
    comparison: Comparison,
    progress: Progress,
    *,
    phase: str,
) -> None:
    """Make `reads` reads by several tasks, popular keys more often, some of them in batches.

    Each phase reads other keys beside the popular ones, so that not all are in memory already.
    """
    names = list(records)
    random.Random(0).shuffle(names)

    async def task(number: int) -> None:
        rng = random.Random(f"{phase} {number}")
        remaining = reads // TASKS
        while remaining > 0:
            # Popularity follows Zipf's law: rank 1 is read twice as often as rank 2.
            collection, key = names[min(int(len(names) ** rng.random()), len(names)) - 1]
            if rng.random() < 0.98:
                comparison.check(collection, key, await store.get(key, collection=collection))
                done = 1
            else:
                keys = [key]
                while len(keys) < min(20, remaining):
                    other_collection, other_key = names[int(len(names) ** rng.random()) - 1]
                    if other_collection == collection:
                        keys.append(other_key)
                values = await store.get_many(keys, collection=collection)
                for key, value in zip(keys, values, strict=True):
                    comparison.check(collection, key, value)
                done = len(keys)
            remaining -= done
            progress(done)

    await asyncio.gather(*(task(number) for number in range(TASKS)))


async def compare_all(
    store: Reads, records: Records, comparison: Comparison, progress: Progress
) -> None:
    """Read every record once more and compare it with its source."""
    for collection, keys in batches(records):
        values = await store.get_many(keys, collection=collection)
        for key, value in zip(keys, values, strict=True):
            comparison.check(collection, key, value)
        progress(len(keys))


def batches(records: Records) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of each collection, in batches."""
    for collection in dict.fromkeys(collection for collection, _ in records):
        keys = [key for name, key in records if name == collection]
        for start in range(0, len(keys), BATCH):
            yield collection, keys[start : start + BATCH]
