"""`ReadThrough`: hits, misses, an outage, and tasks that share a Redis."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import Any

import redis.asyncio

from benchmarks.memory import COUNT, VALUE
from benchmarks.table import Row, absolute, difference, ratio
from benchmarks.timing import Work, pair
from benchmarks.traces import ENTRIES, traces
from kvwrap import Chaos, MemoryStore, ReadThrough, RedisStore, Store, stack
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import RedisServer

TASKS = 64
KEYS = 10_000
MANY = 1_000
NAMES = [f"user:{number}" for number in range(KEYS)]


def getting(store: Any, keys: Sequence[str] = ("user:1",)) -> Work:
    """Return work that gets keys of a collection in turn."""
    names = itertools.cycle(keys)

    async def work(count: int) -> None:
        get = store.get
        for name in itertools.islice(names, count):
            await get(name, collection="c")

    return work


async def hits() -> AsyncIterator[Row]:
    """Compare near hits with gets of a bounded `MemoryStore`, both of entries with a ttl."""
    bare = MemoryStore(max_entries=KEYS)
    cache = stack().read_through(MemoryStore(max_entries=KEYS), ttl=300).over(MemoryStore())
    many = NAMES[:MANY]
    for store in (bare, cache):
        await store.put_many(many, [VALUE] * MANY, collection="c", ttl=300)
        await store.get_many(many, collection="c")
    for keys, which in ((many[:1], ""), (many, f", {MANY:,} keys in turn")):
        measured = await pair(getting(cache, keys), getting(bare, keys), COUNT, COUNT)
        name = f"a near hit of `ReadThrough`{which}, compared with a bounded `MemoryStore`"
        yield ratio(name, measured, 1.3, "1.30")


async def misses() -> Row:
    """Compare misses, each of another key, with the reads of the far store alone."""
    far = MemoryStore()
    await far.put_many(NAMES, [VALUE] * KEYS)
    near = MemoryStore(max_entries=KEYS)
    cache = stack().read_through(near, ttl=300).over(far)
    names = itertools.cycle(NAMES)

    def reading(store: Store) -> Work:
        async def work(count: int) -> None:
            for _ in range(count):
                await store.get(next(names))

        return work

    measured = await pair(reading(cache), reading(far), KEYS // 4, KEYS // 4, near.destroy)
    return difference("a miss of `ReadThrough`, beyond its read of the far store", measured, 10)


async def outage() -> Row:
    """Measure reads of 10,000 keys whose copies are stale, while the far store is down."""
    clock = ManualClock()
    layers = stack().read_through(lambda: MemoryStore(clock=clock), ttl=1, stale_if_error=10**6)
    store = layers.chaos().over(MemoryStore(clock=clock))
    await store.put_many(NAMES, [VALUE] * KEYS)
    await store.get_many(NAMES)
    store.find(Chaos).down = True
    names = itertools.cycle(NAMES)

    async def reading(count: int) -> None:
        clock.advance(60)  # the cooldown of every key is over
        for _ in range(count):
            await store.get(next(names))

    measured = await pair(reading, reading, KEYS, KEYS)
    return absolute(
        "`stale_if_error` over 10,000 keys in an outage: a read",
        measured.ours,
        60,
        "us",
        "2,395 us",
    )


async def over_redis() -> AsyncIterator[Row]:
    """Measure 64 tasks that read keys by Zipf's law, with a tenth of them in memory."""
    rng = random.Random(1)
    weights = [1 / (rank + 1) for rank in range(KEYS)]
    order = rng.choices(NAMES, weights, k=50_000)
    with RedisServer() as server:
        client = redis.asyncio.Redis.from_url(server.url)
        for layers, at_most in ((stack(), 1.0), (stack().coalesce(), 1 / 2)):
            near = stack().read_through(MemoryStore(max_entries=KEYS // 10), ttl=300)
            async with (near + layers).over(RedisStore(server.url)) as store:
                await store.put_many(NAMES, [VALUE] * KEYS)
                names = itertools.cycle(order)

                def reading(get: Any, names: Any = names) -> Work:
                    async def task(count: int) -> None:
                        for _ in range(count):
                            await get(next(names))

                    async def work(count: int) -> None:
                        await asyncio.gather(*(task(count // TASKS) for _ in range(TASKS)))

                    return work

                measured = await pair(
                    reading(store.get), reading(client.get), TASKS * 40, TASKS * 40
                )
            inside = ", `coalesce` inside" if layers != stack() else ""
            yield ratio(
                f"`ReadThrough` over Redis, 64 tasks, a tenth of the keys near{inside}: a read, "
                "compared with GETs of the driver",
                measured,
                at_most,
                "1.00" if at_most == 1 else "1/2",
            )
        await client.aclose()


async def advice() -> AsyncIterator[Row]:
    """Compare the estimated hit rates of other sizes with those of tiers that have them."""

    async def near_hits(entries: int, keys: list[int]) -> tuple[list[int], ReadThrough]:
        """Return the number of hits before each read, and the layer."""
        store = stack().read_through(MemoryStore(max_entries=entries), ttl=300).over(far)
        layer, before = store.find(ReadThrough), []
        for key in keys:
            before.append(layer.snapshot().near_hits)
            await store.get(str(key))
        return [*before, layer.snapshot().near_hits], layer

    for name, keys in traces().items():
        far = MemoryStore()
        unique = [str(key) for key in set(keys)]
        await far.put_many(unique, [1] * len(unique))
        told = (await near_hits(ENTRIES, keys))[1].advice()
        error = inf
        if told is not None:
            errors = []
            for each in told.sizes:
                hits, _ = await near_hits(int(ENTRIES * each.factor), keys)
                real = (hits[-1] - hits[-1 - told.reads]) / told.reads
                errors.append(abs(each.hit_rate - real) * 100)
            error = max(errors)
        yield absolute(
            f"`advice()` for half, twice and ten times the size, trace {name}: largest error",
            error,
            3,
            "points",
        )


async def rows() -> AsyncIterator[Row]:
    """Measure what a cache costs and saves."""
    async for row in hits():
        yield row
    yield await misses()
    yield await outage()
    async for row in advice():
        yield row
    async for row in over_redis():
        yield row
