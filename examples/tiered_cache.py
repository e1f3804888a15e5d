"""Use memory in front of Redis, in two processes.

    python -m examples.tiered_cache redis://localhost:6379/0

Both processes read the same prices. Each caches what it read in memory for at most two
seconds, so most reads are answered within the process. A price that one process changes is seen
by the other within two seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from kvwrap import MemoryStore, ReadThrough, RedisStore, Store, stack

PRODUCTS = 200
MAX_AGE = 2.0
"""Maximum age of a copy in memory, in seconds."""


def cache(url: str) -> Store:
    """Build the stack, which is the same in every process."""
    return (
        stack()
        .read_through(MemoryStore(max_entries=10_000), ttl=MAX_AGE, negative_ttl=1)
        .prefix_collection("shop-")
        .coalesce()
        .over(RedisStore(url))
    )


async def reader(url: str, name: str) -> None:
    """Read popular products many times, then wait until a price changes."""
    rng = random.Random(name)
    async with cache(url) as prices:
        for _ in range(5_000):
            product = min(int(rng.expovariate(0.05)), PRODUCTS - 1)
            assert await prices.get(f"product:{product}", collection="prices")
        counts = prices.find(ReadThrough).snapshot()
        print(
            f"{name}: {counts.near_hits} of 5000 reads from memory, "
            f"{counts.far_keys} keys from Redis"
        )

        print(f"{name}: waiting for the new price")
        start = time.monotonic()
        while (await prices.require("product:0", collection="prices"))["price"] != 42:
            assert time.monotonic() - start < 30, "the new price never arrived"
            await asyncio.sleep(0.05)
        print(f"{name}: sees the new price")


async def main(url: str) -> None:
    """Fill the cache, start two readers, and change a price while they run."""
    async with cache(url) as prices:
        await prices.put_many(
            [f"product:{number}" for number in range(PRODUCTS)],
            [{"price": number + 1} for number in range(PRODUCTS)],
            collection="prices",
            ttl=60,
        )
        readers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "examples.tiered_cache", url, name
            )
            for name in ("first", "second")
        ]
        await asyncio.sleep(1)
        await prices.put("product:0", {"price": 42}, collection="prices", ttl=60)
        for process in readers:
            assert await process.wait() == 0
        await prices.destroy()


if __name__ == "__main__":
    redis_url = sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"
    asyncio.run(reader(redis_url, sys.argv[2]) if sys.argv[2:] else main(redis_url))
