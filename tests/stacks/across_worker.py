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
    """Wait for a line, then ask. Prints the values, and when the last task was answered."""

    async def compute() -> int:
        with computations.open("a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.sleep(SECONDS)
        return os.getpid()

    async with store_from_url(url) as store:
        await store.get(key)
        print("ready", flush=True)
        sys.stdin.readline()
        calls = (store.get_or_put(key, compute, across="processes") for _ in range(tasks))
        values = await asyncio.gather(*calls)
        print(json.dumps([sorted(set(values)), time.monotonic()]), flush=True)


if __name__ == "__main__":
    url, computations, tasks, key = sys.argv[1:]
    asyncio.run(ask(url, Path(computations), int(tasks), key))
