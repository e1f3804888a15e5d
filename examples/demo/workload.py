"""What the demo does with the store: fill it, read it in a skewed pattern, compare everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

from examples.demo.records import Records
from kvwrap import Store

Progress = Callable[[int], None]
"""Told how many records or reads were done since it was last told."""

BATCH = 100
TASKS = 8


class Comparison:
    """Counts values that were compared with their source."""

    def __init__(self, source: Records) -> None:
        self.source = source
        self.equal = 0
        self.different: list[tuple[str, str]] = []

    def check(self, collection: str, key: str, value: object) -> None:
        """Compare what the store gave with the record."""
        if value == self.source[collection, key]:
            self.equal += 1
        else:
            self.different.append((collection, key))


async def fill(store: Store, records: Records, progress: Progress) -> None:
    """Put every record, a batch at a time."""
    for collection, keys in batches(records):
        values = [records[collection, key] for key in keys]
        await store.put_many(keys, values, collection=collection, ttl=3_600)
        progress(len(keys))


async def read(
    store: Store, records: Records, reads: int, seen: Comparison, progress: Progress
) -> None:
    """Read so many values, popular ones more often, by several tasks, some reads in batches."""
    names = list(records)
    random.Random(0).shuffle(names)

    async def task(number: int) -> None:
        rng = random.Random(number)
        left = reads // TASKS
        while left > 0:
            # Popularity falls off as in Zipf's law: rank 1 is read twice as often as rank 2.
            picked = names[min(int(len(names) ** rng.random()), len(names)) - 1]
            if rng.random() < 0.98:
                seen.check(*picked, await store.get(picked[1], collection=picked[0]))
                done = 1
            else:
                keys = [picked[1]]
                while len(keys) < min(20, left):
                    collection, key = names[int(len(names) ** rng.random()) - 1]
                    if collection == picked[0]:
                        keys.append(key)
                values = await store.get_many(keys, collection=picked[0])
                for key, value in zip(keys, values, strict=True):
                    seen.check(picked[0], key, value)
                done = len(keys)
            left -= done
            progress(done)

    await asyncio.gather(*(task(number) for number in range(TASKS)))


async def compare_all(store: Store, records: Records, seen: Comparison, progress: Progress) -> None:
    """Read every record once more, and compare it."""
    for collection, keys in batches(records):
        values = await store.get_many(keys, collection=collection)
        for key, value in zip(keys, values, strict=True):
            seen.check(collection, key, value)
        progress(len(keys))


def batches(records: Records) -> Iterator[tuple[str, list[str]]]:
    """The keys of each collection, in batches."""
    for collection in dict.fromkeys(collection for collection, _ in records):
        keys = [key for there, key in records if there == collection]
        for start in range(0, len(keys), BATCH):
            yield collection, keys[start : start + BATCH]
