"""`NATSStore`, compared with the key-value class of the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import nats
import orjson
from nats.js.api import KeyValueConfig

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import NATSStore
from kvwrap.testing.servers import NATSServer


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's calls, a batch of them sent together."""
    with NATSServer() as server:
        client = await nats.connect(server.url)
        bucket = await client.jetstream().create_key_value(KeyValueConfig(bucket="bare"))

        async def get(key: str) -> Any:
            return orjson.loads((await bucket.get(key)).value or b"null")

        async def put(key: str, value: Any) -> None:
            await bucket.put(key, orjson.dumps(value))

        async def get_many(keys: list[str]) -> Any:
            return await asyncio.gather(*map(get, keys))

        async def put_many(keys: list[str], values: list[Any]) -> None:
            await asyncio.gather(*map(put, keys, values))

        bare = round_trips.Bare(get, put, get_many, put_many)
        async with NATSStore(server.url) as store:
            async for row in round_trips.rows("`NATSStore`", store, bare):
                yield row
        await client.close()
