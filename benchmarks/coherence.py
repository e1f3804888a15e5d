"""Near tiers whose backend tells changes, and locks, over Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import cashews
import redis.asyncio
from cashews.backends.memory import Memory
from key_value.aio.stores.memory import MemoryStore as PeerMemory
from key_value.aio.stores.redis import RedisStore as PeerRedis
from key_value.aio.wrappers.passthrough_cache import PassthroughCacheWrapper

from benchmarks.memory import COUNT, VALUE
from benchmarks.read_through import KEYS, NAMES, TASKS, getting
from benchmarks.table import Row, absolute, ratio
from benchmarks.timing import Work, pair
from kvwrap import MemoryStore, RedisStore, Store, stack
from kvwrap.testing.servers import RedisServer

NEAR = KEYS // 10
READS = TASKS * 50
LOCKS = 200
WRITES = 2_000
PAUSE = 0.002
"""Seconds between two writes that another process sees."""

STOPPED = 10.0
"""Seconds for which the server is stopped."""

TIMEOUT = 0.05
"""Seconds after which a reader of a stopped server gets a stale value."""


def cached(server: RedisServer) -> Store:
    near = stack().read_through(MemoryStore(max_entries=NEAR), ttl=300).coalesce()
    return near.over(RedisStore(server.url))


async def hits(server: RedisServer) -> Row:
    """Compare a near hit that is served by watching with a `get` of a plain `MemoryStore`."""
    bare = MemoryStore()
    async with stack().read_through(MemoryStore(), ttl=300).over(RedisStore(server.url)) as cache:
        for store in (bare, cache):
            await store.put("user:1", VALUE, collection="c", ttl=300)
            await store.get("user:1", collection="c")
        measured = await pair(getting(cache), getting(bare), COUNT, COUNT)
    name = "a near hit while Redis tells changes, compared with a plain `MemoryStore`"
    return ratio(name, measured, 1.4, "1.40")


async def locks(server: RedisServer) -> AsyncIterator[Row]:
    """Compare locks that nobody waits for with conditional writes, by elapsed time."""
    async with RedisStore(server.url) as one, RedisStore(server.url) as other:
        await one.put("k", VALUE)
        (entry,) = await one.read(None, ["k"])
        assert entry is not None

        async def alone(count: int) -> None:
            for _ in range(count):
                async with one.lock("alone"):
                    pass

        async def in_turns(count: int) -> None:
            for _ in range(count // 2):
                for store in (one, other):
                    async with store.lock("turns"):
                        pass

        async def round_trips(count: int) -> None:
            for _ in range(count):
                await one.write(None, ["k"], [entry], [entry.version])

        for name, work, most in (
            ("held by this process last", alone, 2.2),
            ("held by another process since", in_turns, 3.3),
        ):
            measured = await pair(work, round_trips, LOCKS, LOCKS, clock=time.perf_counter)
            yield ratio(
                f"a lock, {name}: in round trips of conditional writes",
                measured,
                most,
                f"{most:.2f}",
            )


def tasks(read: Callable[[str], Awaitable[object]], order: list[str]) -> Work:
    """Return work that reads keys by several tasks."""
    names = itertools.cycle(order)

    async def work(count: int) -> None:
        async def some() -> None:
            for _ in range(count // TASKS):
                await read(next(names))

        await asyncio.gather(*(some() for _ in range(TASKS)))

    return work


async def shared_reads(server: RedisServer) -> AsyncIterator[Row]:
    """Compare 64 tasks that read by Zipf's law with other ways to do so, by elapsed time."""
    weights = [1 / (rank + 1) for rank in range(KEYS)]
    order = random.Random(1).choices(NAMES, weights, k=50_000)
    driver = redis.asyncio.Redis.from_url(server.url)
    peer = PassthroughCacheWrapper(
        PeerRedis(url=server.url), PeerMemory(max_entries_per_collection=NEAR), maximum_ttl=300
    )
    other = cashews.Cache()
    other.setup(server.url, client_side=True, local_cache=Memory(size=NEAR))
    await other.init()
    async with cached(server) as store:
        await store.put_many(NAMES, [VALUE] * KEYS)
        await peer.put_many(NAMES, [VALUE] * KEYS, collection="peer")
        await driver.mset({f"driver:{name}": b"x" * 100 for name in NAMES})
        await other.set_many({f"cashews:{name}": VALUE for name in NAMES}, expire=300)
        sides: list[tuple[str, Callable[[str], Awaitable[Any]], float, str]] = [
            ("py-key-value's `PassthroughCacheWrapper`",
             lambda key: peer.get(key, collection="peer"), 1 / 5, "1/5"),
            ("redis-py without a tier", lambda key: driver.get(f"driver:{key}"), 1 / 3, "1/3"),
            ("cashews' client-side cache", lambda key: other.get(f"cashews:{key}"), 1.0, "1.00"),
        ]  # fmt: skip
        for name, read, most, target in sides:
            theirs = tasks(read, order)
            measured = await pair(
                tasks(store.get, order), theirs, READS, READS, clock=time.perf_counter
            )
            yield ratio(
                f"64 tasks, Zipf over 10,000 keys of Redis, 1,000 of them near: a read, compared "
                f"with {name}", measured, most, target,
            )  # fmt: skip
    await other.close()
    await driver.aclose()


async def seen_writes(server: RedisServer) -> AsyncIterator[Row]:
    """Measure how long another process serves the value from before a write."""
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.seen", server.url, str(WRITES), stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    written: dict[int, float] = {}
    async with RedisStore(server.url) as writer:
        await writer.delete("k")
        await reader.stdout.readline()
        for number in range(1, WRITES + 1):
            await writer.put("k", number)
            written[number] = time.monotonic()
            await asyncio.sleep(PAUSE)
    output, _ = await reader.communicate()
    seen = {int(number): moment for number, moment in json.loads(output).items()}
    # What another write replaced before it was read was seen with that one.
    firsts = [min(seen[later] for later in seen if later >= number) for number in written]
    delays = [
        max(0.0, first - moment) * 1000
        for first, moment in zip(firsts, written.values(), strict=True)
    ]
    delays.sort()
    name = "another process sees a write, elapsed time"
    yield absolute(f"{name}: median", statistics.median(delays), 5, "ms")
    yield absolute(f"{name}: 99.9th percentile", delays[int(WRITES * 0.999)], 50, "ms")


async def stopped(server: RedisServer) -> Row:
    """Measure how long 64 readers wait for stale values while the server is stopped."""
    times: list[float] = []
    tier = stack().read_through(MemoryStore, coherence="ttl", ttl=0.2, stale_if_error=600)
    async with tier.timeout(TIMEOUT).over(RedisStore(server.url)) as store:
        for name in NAMES[:TASKS]:
            await store.put(name, VALUE)
            await store.get(name)
        await asyncio.sleep(0.3)
        server.freeze()
        end = time.perf_counter() + STOPPED

        async def read(name: str) -> None:
            while (began := time.perf_counter()) < end:
                assert await store.get(name) == VALUE
                times.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.01)

        try:
            await asyncio.gather(*(read(name) for name in NAMES[:TASKS]))
        finally:
            server.thaw()
    times.sort()
    return absolute(
        f"64 readers of a Redis that is stopped, stale values after a timeout of "
        f"{TIMEOUT * 1000:g} ms: 99th percentile",
        times[int(len(times) * 0.99)],
        TIMEOUT * 1000 + 20,
        "ms",
    )


async def rows() -> AsyncIterator[Row]:
    """Measure near tiers and locks that processes share."""
    with RedisServer() as server:
        yield await hits(server)
        async for row in locks(server):
            yield row
        async for row in shared_reads(server):
            yield row
        async for row in seen_writes(server):
            yield row
        yield await stopped(server)
