"""A server that pauses again and again, under retries with a short timeout."""

from __future__ import annotations

import asyncio
from collections import Counter

from kvwrap import RedisStore, Store, StoreUnavailable, stack
from kvwrap.testing import RedisServer

ATTEMPTS = 60


async def pause_again_and_again(server: RedisServer) -> None:
    try:
        while True:
            server.freeze()
            await asyncio.sleep(0.06)
            server.thaw()
            await asyncio.sleep(0.06)
    finally:
        server.thaw()


def patient(server: RedisServer) -> Store:
    retrying = stack().retry(attempts=10, wait=0.005, max_wait=0.02)
    return retrying.timeout(0.04).over(RedisStore(server.url))


async def test_no_acknowledged_increment_is_lost_and_none_is_counted_twice(
    own_server: RedisServer,
) -> None:
    async with patient(own_server) as store, RedisStore(own_server.url) as direct:
        await direct.put("n", 0)
        pausing = asyncio.create_task(pause_again_and_again(own_server))
        outcomes: Counter[str] = Counter()
        for _ in range(ATTEMPTS):
            try:
                await store.increment("n")
                outcomes["acknowledged"] += 1
            except StoreUnavailable:
                outcomes["unknown"] += 1
        pausing.cancel()
        await asyncio.wait([pausing])
        counted = await direct.get("n")
        assert outcomes["acknowledged"] <= counted <= ATTEMPTS


async def test_a_put_if_absent_whose_answer_was_lost_knows_its_own_entry(
    own_server: RedisServer,
) -> None:
    async with patient(own_server) as store, RedisStore(own_server.url) as direct:
        await direct.check()
        pausing = asyncio.create_task(pause_again_and_again(own_server))
        denied: list[int] = []
        for number in range(ATTEMPTS):
            try:
                if not await store.put_if_absent(f"k{number}", number):
                    denied.append(number)
            except StoreUnavailable:
                continue  # its outcome is unknown
        pausing.cancel()
        await asyncio.wait([pausing])
        assert denied == [], "nobody else writes these keys"
