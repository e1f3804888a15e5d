"""`Tags`: reads and puts with tags, and the invalidation of 100,000 entries at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator

from benchmarks.memory import COUNT, VALUE, getting, putting
from benchmarks.table import Row, absolute, difference
from benchmarks.timing import pair
from kvwrap import MemoryStore, PostgreSQLStore, RedisStore, Store, Tags, stack
from kvwrap.testing.servers import PostgreSQLServer, RedisServer

ENTRIES = 100_000
BATCH = 1_000
INVALIDATIONS = 201


async def beyond_the_store() -> AsyncIterator[Row]:
    """Compare reads and puts with those of the store without the layer."""
    bare, tagged = MemoryStore(), stack().tags().over(MemoryStore())
    for store in (bare, tagged):
        await store.put("user:12345", VALUE, ttl=300)
    yield difference("`Tags`: get", await pair(getting(tagged), getting(bare), COUNT, COUNT), 5)
    yield difference(
        "`Tags`: put without tags", await pair(putting(tagged), putting(bare), COUNT, COUNT), 8
    )
    measured = await pair(putting(tagged, tags=["users"]), putting(bare), COUNT, COUNT)
    yield difference("`Tags`: put with a tag", measured, 20)


async def invalidation(name: str, base: Store) -> Row:
    """Measure by elapsed time how long `invalidate` of a tag of 100,000 entries takes."""
    keys = [f"user:{number}" for number in range(ENTRIES)]
    times = []
    async with stack().tags().over(base) as store:
        for start in range(0, ENTRIES, BATCH):
            await store.put_many(keys[start : start + BATCH], [VALUE] * BATCH, tags=["users"])
        for number in range(INVALIDATIONS):
            assert (await store.get(keys[-1]) is not None) == (number == 0)
            began = time.perf_counter()
            await store.find(Tags).invalidate("users")
            times.append((time.perf_counter() - began) * 1000)
    return absolute(
        f"`Tags` over `{name}`: `invalidate` of a tag of 100,000 entries, elapsed time",
        statistics.median(times),
        5,
        "ms",
    )


async def rows() -> AsyncIterator[Row]:
    """Measure what tags cost, and how fast they end what has them."""
    async for row in beyond_the_store():
        yield row
    with RedisServer() as server:
        yield await invalidation("RedisStore", RedisStore(server.url))
    with PostgreSQLServer() as server:
        store = PostgreSQLStore(server.url, notify=True)
        yield await invalidation("PostgreSQLStore", store)
