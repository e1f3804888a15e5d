"""`Coalesce` over a real Redis, compared with single GETs of the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import redis.asyncio

from benchmarks.table import Row
from benchmarks.timing import pair
from kvwrap import RedisStore, stack
from kvwrap.testing.servers import RedisServer

TASKS = 64
KEYS = 256


async def rows() -> AsyncIterator[Row]:
    """Measure 64 tasks that read 256 keys, each task one key at a time."""
    with RedisServer() as server:
        client = redis.asyncio.Redis.from_url(server.url)
        async with stack().coalesce().over(RedisStore(server.url)) as store:
            names = [f"key:{number}" for number in range(KEYS)]
            await store.put_many(names, [{"number": number} for number in range(KEYS)])
            for name in names:
                await client.set(name, b'{"number":1}')

            async def ours(count: int) -> None:
                async def task(start: int) -> None:
                    for number in range(count // TASKS):
                        await store.get(names[(start * 7 + number) % KEYS])

                await asyncio.gather(*(task(start) for start in range(TASKS)))

            async def theirs(count: int) -> None:
                async def task(start: int) -> None:
                    for number in range(count // TASKS):
                        await client.get(names[(start * 7 + number) % KEYS])

                await asyncio.gather(*(task(start) for start in range(TASKS)))

            measured = await pair(ours, theirs, TASKS * 40, TASKS * 20)
        await client.aclose()
    times = 1 / measured.ratio
    yield Row(
        "`Coalesce` over Redis: reads by 64 tasks per second of CPU time, "
        "compared with single GETs",
        f"{1e6 / measured.ours:,.0f}/s",
        f"{1e6 / measured.theirs:,.0f}/s",
        f"{times:.1f} times",
        "at least 3 times",
        times >= 3,
    )
