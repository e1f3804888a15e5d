"""Another process that reads a key, for `benchmarks.coherence`: when it sees each write of it."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from kvwrap import MemoryStore, RedisStore, stack


async def main(url: str, count: int) -> None:
    """Read until the value is `count`; then print when each value was seen first."""
    seen: dict[int, float] = {}
    async with stack().read_through(MemoryStore, ttl=300).over(RedisStore(url)) as store:
        print("ready", flush=True)
        value = 0
        while value < count:
            value = await store.get("k") or 0
            seen.setdefault(value, time.monotonic())
            await asyncio.sleep(0)
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
