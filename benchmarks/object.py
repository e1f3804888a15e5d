"""`ObjectStore`, compared with the driver; on moto, which has the interface of S3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import obstore
import orjson
from obstore.store import S3Store

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import ObjectStore
from kvwrap.testing.servers import MotoServer

_BUCKET = "bench"
_LOGIN = {"access_key_id": "any", "secret_access_key": "any"}


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's calls, those of a batch at once."""
    with MotoServer() as server:
        server.make_bucket(server.url, _BUCKET)
        bucket = S3Store(
            _BUCKET,
            endpoint=server.url,
            **_LOGIN,
            client_options={"allow_http": True},
        )

        async def get(key: str) -> Any:
            result = await obstore.get_async(bucket, key)
            return orjson.loads((await result.bytes_async()).to_bytes())

        async def put(key: str, value: Any) -> None:
            await obstore.put_async(bucket, key, orjson.dumps(value))

        async def get_many(keys: list[str]) -> Any:
            return await asyncio.gather(*map(get, keys))

        async def put_many(keys: list[str], values: list[Any]) -> None:
            await asyncio.gather(*map(put, keys, values))

        bare = round_trips.Bare(get, put, get_many, put_many)
        url = f"s3://any:any@{_BUCKET}/ours"
        async with ObjectStore(url, endpoint=server.url, timeout=60) as store:
            async for row in round_trips.rows("`ObjectStore`", store, bare):
                yield row
