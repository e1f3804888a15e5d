"""What processes do that share a server behind near tiers: read, write, and note all of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from contextlib import suppress

from kvwrap import MemoryStore, Store, StoreUnavailable, stack, store_from_url

BOUND = 1.0
KEYS = ("k", "l", "m")

Line = tuple[str, str, float, float | None, str | None]
"""An operation: its kind, key, begin, end (None if it failed), and the value."""


class Worker:
    """Reads and writes at a steady pace.

    Args:
        store: The stack of this process.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written = 0
        self.lines: list[Line] = []

    async def operate(self) -> None:
        key, kind, value = random.choice(KEYS), "read", None
        if random.random() < 0.1:
            self._written += 1
            kind, value = "write", f"{os.getpid()}:{self._written}"
        began, ended = time.monotonic(), None
        with suppress(StoreUnavailable):
            if value is None:
                value = await self._store.get(key)
            else:
                await self._store.put(key, value)
            ended = time.monotonic()
        self.lines.append((kind, key, began, ended, value))

    async def run(self, rate: float, seconds: float) -> None:
        """Make this many operations a second, by four tasks."""
        end = time.monotonic() + seconds

        async def task() -> None:
            while (now := time.monotonic()) < end:
                await self.operate()
                await asyncio.sleep(now + 4 / rate - time.monotonic())

        await asyncio.gather(*(task() for _ in range(4)))


async def main(url: str, rate: str, seconds: str) -> None:
    stacked = stack().read_through(MemoryStore, bound=BOUND, ttl=600).over(store_from_url(url))
    async with stacked as store:
        print("ready", flush=True)
        worker = Worker(store)
        await worker.run(float(rate), float(seconds))
        print(json.dumps(worker.lines), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
