"""`RedisStore` and `ValkeyStore`, compared with the commands of the driver that they rest on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import redis.asyncio
from key_value.aio.stores.redis import RedisStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import RedisStore, ValkeyStore
from kvwrap.testing.servers import RedisCluster, RedisServer, ValkeyServer


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's GET, SET, MGET and pipeline of SET."""
    for server_class, store_class in ((RedisServer, RedisStore), (ValkeyServer, ValkeyStore)):
        with server_class() as server:
            async with (
                redis.asyncio.Redis(port=server.port) as client,
                store_class(server.url) as store,
                TheirStore(port=server.port, db=1) as peer,
            ):
                title = f"`{store_class.__name__}`"
                async for row in round_trips.rows(title, store, bare(client, client.mget), peer):
                    yield row
    with RedisCluster() as cluster:
        async with (
            redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client,
            RedisStore(cluster.url) as store,
        ):
            calls = bare(client, client.mget_nonatomic)
            async for row in round_trips.rows("`RedisStore`, a cluster", store, calls):
                yield row


def bare(client: Any, mget: Callable[[list[str]], Awaitable[Any]]) -> round_trips.Bare:
    """Return what users of the driver write; `mget` is the driver's way to read many keys."""

    async def get(key: str) -> Any:
        return orjson.loads(await client.get(key))

    async def put(key: str, value: Any) -> None:
        await client.set(key, orjson.dumps(value))

    async def get_many(keys: list[str]) -> Any:
        return [orjson.loads(value) for value in await mget(keys)]

    async def put_many(keys: list[str], values: list[Any]) -> None:
        # MSET is faster, and can give no value a ttl.
        pipeline = client.pipeline(transaction=False)
        for key, value in zip(keys, values):
            pipeline.set(key, orjson.dumps(value))
        await pipeline.execute()

    return round_trips.Bare(get, put, get_many, put_many)
