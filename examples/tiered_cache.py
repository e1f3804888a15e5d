"""Memory in front of Redis, shared by two processes.

    python -m examples.tiered_cache redis://localhost:6379/0

Both processes read the same prices. Each keeps what it read in memory for at most two
seconds, so most reads never leave the process, and a price that one process changes is seen
by the other within those two seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from kvwrap import MemoryStore, ReadThrough, RedisStore, Store, stack

PRODUCTS = 200
STALE_AT_MOST = 2.0


def cache(url: str) -> Store:
    """The same stack in every process."""
    return (
        stack()
        .read_through(MemoryStore(max_entries=10_000), ttl=STALE_AT_MOST, negative_ttl=1)
        .prefix_collection("shop-")
        .over(RedisStore(url))
    )


async def reader(url: str, name: str) -> None:
    """Read popular products over and over, and notice when a price changes."""
    rng = random.Random(name)
    async with cache(url) as prices:
        for _ in range(5_000):
            product = min(int(rng.expovariate(0.05)), PRODUCTS - 1)
            assert await prices.get(f"product:{product}", collection="prices")
        near = prices.find(ReadThrough).snapshot()
        print(
            f"{name}: {near.near_hits} of 5000 reads from memory, {near.far_keys} keys from Redis"
        )

        print(f"{name}: waiting for the new price")
        began = time.monotonic()
        while (await prices.require("product:0", collection="prices"))["price"] != 42:
            assert time.monotonic() - began < 30, "the new price never arrived"
            await asyncio.sleep(0.05)
        print(f"{name}: sees the new price")


async def main(url: str) -> None:
    """Fill the cache, start two readers, change a price under them."""
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
    where = sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"
    asyncio.run(reader(where, sys.argv[2]) if sys.argv[2:] else main(where))
