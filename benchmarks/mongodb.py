"""`MongoDBStore`, compared with the driver; on mongo-java-server, which has MongoDB's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pymongo
from key_value.aio.stores.mongodb import MongoDBStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import MongoDBStore
from kvwrap.testing.servers import MongoDBServer


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's commands."""
    with MongoDBServer() as server:
        async with (
            pymongo.AsyncMongoClient(server.url) as client,
            MongoDBStore(f"{server.url}/ours") as store,
            TheirStore(url=server.url, db_name="theirs") as peer,
        ):
            documents = client["bare"]["entries"]

            async def get(key: str) -> Any:
                found = await documents.find_one({"_id": key})
                return None if found is None else orjson.loads(found["value"])

            async def put(key: str, value: Any) -> None:
                document = {"_id": key, "value": orjson.dumps(value)}
                await documents.replace_one({"_id": key}, document, upsert=True)

            async def get_many(keys: list[str]) -> Any:
                found = documents.find({"_id": {"$in": keys}}, batch_size=len(keys))
                return {each["_id"]: orjson.loads(each["value"]) async for each in found}

            async def put_many(keys: list[str], values: list[Any]) -> None:
                operations = [
                    pymongo.ReplaceOne(
                        {"_id": key}, {"_id": key, "value": orjson.dumps(value)}, upsert=True
                    )
                    for key, value in zip(keys, values, strict=True)
                ]
                await documents.bulk_write(operations, ordered=False)

            bare = round_trips.Bare(get, put, get_many, put_many)
            async for row in round_trips.rows("`MongoDBStore`", store, bare, peer):
                yield row
