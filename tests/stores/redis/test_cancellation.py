"""RedisStore: cancelled calls."""

from __future__ import annotations

import asyncio
import contextlib
import random

import redis.asyncio

from kvwrap.stores.redis import RedisStore
from kvwrap.testing import RedisServer
from tests.stores.redis.client_list import connections


async def test_other_calls_never_get_the_answers_of_cancelled_ones(
    own_server: RedisServer,
) -> None:
    chance = random.Random(7)
    async with (
        RedisStore(f"{own_server.url}?client_name=store", max_connections=4) as store,
        redis.asyncio.Redis.from_url(own_server.url) as client,
    ):
        keys = [f"k{i}" for i in range(100)]
        await store.put_many(keys, keys)

        async def read(key: str) -> None:
            match chance.randrange(3):
                case 0:
                    assert await store.get(key) == key
                case 1:
                    assert await store.get_many([key, "k1"]) == [key, "k1"]
                case 2:
                    assert await store.put_if_absent(key, "other") is False

        for _ in range(25):
            tasks = [asyncio.create_task(read(chance.choice(keys))) for _ in range(40)]
            for task in chance.sample(tasks, 30):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                await asyncio.sleep(chance.random() * 0.0005)
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            wrong = [
                r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)
            ]
            assert wrong == []
        assert store.idle
        assert await store.get_many(keys) == keys
        # No turn and no connection was lost: of more calls, four still run at the same time.
        await client.client_pause(60_000, all=False)
        writes = [asyncio.create_task(store.put(key, key)) for key in keys[:20]]
        async with asyncio.timeout(30):
            while len(await connections(client, "store", flag="b")) < 4:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(await connections(client, "store", flag="b")) == 4
        assert len(await connections(client, "store")) == 4
        assert not store.idle
        await client.client_unpause()
        await asyncio.gather(*writes)
        assert store.idle


async def test_cancelled_batches_leave_values_of_one_write_each(store: RedisStore) -> None:
    keys = [f"k{i}" for i in range(500)]
    await store.put_many(keys, [0] * 500)
    for attempt in range(1, 15):
        task = asyncio.create_task(store.put_many(keys, [attempt] * 500, ttl=1000))
        await asyncio.sleep(attempt * 0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await store.put_many(keys, [-attempt] * 500) is None
        assert set(await store.get_many(keys)) == {-attempt}
