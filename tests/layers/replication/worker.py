"""A process of `test_processes.py`, which takes its part as JSON and prints its results so."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from kvwrap import RedisStore, SQLiteStore, Store, StoreUnavailable, stack
from kvwrap.layers.replication import Replication
from tests.layers.connections import Offset


def replicated(urls: list[str], ahead: float, failing: dict[str, Any] | None = None) -> Store:
    """Return the stack of one process.

    Args:
        urls: Paths of SQLite files, or URLs of Redis.
        ahead: Seconds by which its clock is ahead.
        failing: Arguments of `Chaos`, with the number of the replica that it hits.
    """
    stores: list[Store] = []
    for number, url in enumerate(urls):
        clock = Offset(ahead)
        store: Store = (
            RedisStore(url, clock=clock, namespace=f"replica{number}")
            if url.startswith("redis:")
            else SQLiteStore(url, clock=clock)
        )
        if failing is not None and failing["replica"] == number:
            rates = {name: value for name, value in failing.items() if name != "replica"}
            store = stack().chaos(**rates).silence("chaos-over-real-data").over(store)
        stores.append(store)
    layer: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**9}
    return stack().replicate(stores[1:], **layer).over(stores[0])


async def increment(store: Store, count: int) -> list[int]:
    """Increment until `count` increments are acknowledged. Returns their results."""
    numbers: list[int] = []
    while len(numbers) < count:
        try:
            numbers.append(await store.increment("n"))
        except StoreUnavailable:
            continue
    return numbers


async def run(task: str, urls: list[str], ahead: float, failing: Any, count: int) -> Any:
    """Do one process's part. Returns what it prints."""
    async with replicated(urls, ahead, failing) as store:
        if task == "increment":
            return await increment(store, count)
        print("repairing", flush=True)
        while True:  # until the test ends the process
            try:
                await store.find(Replication).repair_all()
            except StoreUnavailable:
                continue
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
