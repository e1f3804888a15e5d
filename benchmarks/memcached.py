"""`MemcachedStore`, compared with aiomcache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiomcache
import orjson
from key_value.aio.stores.memcached import MemcachedStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import MemcachedStore
from kvwrap.testing.servers import MemcachedServer


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's; it has no batch for writes."""
    with MemcachedServer() as server:
        client = aiomcache.Client("127.0.0.1", server.port, pool_size=16)

        async def get(key: str) -> Any:
            return orjson.loads(await client.get(key.encode()) or b"null")

        async def put(key: str, value: Any) -> None:
            await client.set(key.encode(), orjson.dumps(value))

        async def get_many(keys: list[str]) -> Any:
            found = await client.multi_get(*(key.encode() for key in keys))
            return [orjson.loads(value or b"null") for value in found]

        async def put_many(keys: list[str], values: list[Any]) -> None:
            await asyncio.gather(*map(put, keys, values))

        bare = round_trips.Bare(get, put, get_many, put_many)
        async with (
            MemcachedStore(server.url) as store,
            TheirStore(port=server.port) as peer,
        ):
            async for row in round_trips.rows("`MemcachedStore`", store, bare, peer):
                yield row
        await client.close()
