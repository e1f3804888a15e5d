"""`MongoDBStore`, compared with the driver; on mongo-java-server, which has MongoDB's protocol."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pymongo
from key_value.aio.stores.mongodb import MongoDBStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import MongoDBStore
from kvwrap.testing.servers import MongoDBServer

_versions = itertools.count()


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's commands, with an index of expiry."""
    with MongoDBServer() as server:
        async with (
            pymongo.AsyncMongoClient(server.url) as client,
            MongoDBStore(f"{server.url}/ours") as store,
            TheirStore(url=server.url, db_name="theirs") as peer,
        ):
            documents = client["bare"]["entries"]
            await documents.create_index("expires", expireAfterSeconds=0, sparse=True)

            async def get(key: str) -> Any:
                found = await documents.find_one({"_id": key})
                return None if found is None else orjson.loads(found["value"])

            async def put(key: str, value: Any) -> None:
                await documents.replace_one({"_id": key}, document(key, value), upsert=True)

            async def get_many(keys: list[str]) -> Any:
                found = documents.find({"_id": {"$in": keys}}, batch_size=len(keys))
                return {each["_id"]: orjson.loads(each["value"]) async for each in found}

            async def put_many(keys: list[str], values: list[Any]) -> None:
                operations = [
                    pymongo.ReplaceOne({"_id": key}, document(key, value), upsert=True)
                    for key, value in zip(keys, values, strict=True)
                ]
                await documents.bulk_write(operations, ordered=False)

            bare = round_trips.Bare(get, put, get_many, put_many)
            async for row in round_trips.rows("`MongoDBStore`", store, bare, peer):
                yield row


def document(key: str, value: Any) -> dict[str, Any]:
    """Return a document that differs from all before: a server does not write one that is equal."""
    return {"_id": key, "version": next(_versions), "value": orjson.dumps(value)}
