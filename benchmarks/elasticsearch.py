"""`ElasticsearchStore`, compared with the driver of OpenSearch and py-key-value's store, on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from key_value.aio.stores.opensearch import OpenSearchStore as TheirStore
from opensearchpy import AsyncOpenSearch

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import ElasticsearchStore
from kvwrap.testing.servers import OpenSearchServer

INDEX = "bare"


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's calls with values as documents."""
    with OpenSearchServer() as server:
        async with (
            AsyncOpenSearch([f"http://127.0.0.1:{server.port}"], timeout=60) as client,
            ElasticsearchStore(server.url, index_prefix="ours", timeout=60) as store,
        ):
            mappings = {"dynamic": "strict", "properties": {"value": {"enabled": False}}}
            await client.indices.create(index=INDEX, body={"mappings": mappings})

            async def get(key: str) -> Any:
                return (await client.get(index=INDEX, id=key))["_source"]["value"]

            async def put(key: str, value: Any) -> None:
                await client.index(index=INDEX, id=key, body={"value": value})

            async def get_many(keys: list[str]) -> Any:
                found = await client.mget(index=INDEX, body={"ids": keys})
                return [each["_source"]["value"] for each in found["docs"]]

            async def put_many(keys: list[str], values: list[Any]) -> None:
                actions: list[Any] = []
                for key, value in zip(keys, values):
                    actions += ({"index": {"_id": key}}, {"value": value})
                await client.bulk(index=INDEX, body=actions)

            bare = round_trips.Bare(get, put, get_many, put_many)
            peer = TheirStore(opensearch_client=client, index_prefix="theirs")
            async for row in round_trips.rows("`ElasticsearchStore`", store, bare, peer):
                yield row
