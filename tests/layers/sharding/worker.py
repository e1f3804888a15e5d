"""A process of `test_processes.py`, which takes its part as JSON and prints its results so."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

from kvwrap import Passthrough, RedisStore, SQLiteStore, Store, stack
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.layers.sharding import Sharding

KEYS = [f"k{number}" for number in range(40)]


class StopsAfter(Passthrough):
    """Prints a line after its n-th write, and then waits to be killed."""

    def __init__(self, writes: int) -> None:
        self._writes = writes

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        written = await self.inner.write(collection, keys, entries, expected)
        self._writes -= 1
        if self._writes == 0:
            print("reached", flush=True)
            await asyncio.Event().wait()
        return list(written)


def backends(urls: Sequence[str]) -> list[Store]:
    """Return the two shards; the second one is new."""
    return [
        RedisStore(url, namespace=f"shard{number}")
        if url.startswith("redis:")
        else SQLiteStore(url, timeout=60)
        for number, url in enumerate(urls)
    ]


def sharded(old: Store, new: Store, stops_after: int | None = None) -> Store:
    """Return the stack of one process, which knows both shards.

    Args:
        old: The shard that had all entries.
        new: The shard that was added.
        stops_after: Number of writes to the new shard after which the process stands still.
    """
    if stops_after is not None:
        new = StopsAfter(stops_after).over(new)
    return stack().shard({"b": new}, name="a", previous=["a"]).over(old)


async def increment(store: Store, seed: int, count: int) -> dict[str, Any]:
    """Increment counters in turns. Returns their results, and which locks were taken."""
    rng = random.Random(seed)
    numbers: list[tuple[str, int]] = []
    locks = []
    for turn in range(count):
        key = rng.choice(KEYS)
        numbers.append((key, await store.increment(key)))
        if await store.put_if_absent(f"lock {turn}", seed):
            locks.append(turn)
        assert not await store.put_if_absent(rng.choice(KEYS), "overwritten")
    return {"numbers": numbers, "locks": locks}


async def run(
    task: str, urls: list[str], seed: int, count: int, stops_after: int | None
) -> dict[str, Any]:
    """Do one process's part. Returns what it prints."""
    old, new = backends(urls)
    async with sharded(old, new, stops_after) as store:
        if task == "increment":
            print("incrementing", flush=True)
            return await increment(store, seed, count)
        return {"moved": await store.find(Sharding).rebalance()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
