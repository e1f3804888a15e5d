"""What processes do that share a computation: many tasks ask for one key that is missing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from kvwrap import store_from_url

SECONDS = 0.5
"""How long a computation takes."""


async def ask(url: str, computations: Path, tasks: int, key: str) -> None:
    """Wait for a line, then ask. Prints the values, and the seconds that the slowest task took."""

    async def compute() -> int:
        with computations.open("a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.sleep(SECONDS)
        return os.getpid()

    async with store_from_url(url) as store:
        await store.get(key)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        slowest = 0.0

        async def call() -> int:
            nonlocal slowest
            value: int = await store.get_or_put(key, compute, across="processes")
            slowest = max(slowest, time.monotonic() - began)
            return value

        values = await asyncio.gather(*(call() for _ in range(tasks)))
        print(json.dumps([sorted(set(values)), slowest]), flush=True)


if __name__ == "__main__":
    url, computations, tasks, key = sys.argv[1:]
    asyncio.run(ask(url, Path(computations), int(tasks), key))
