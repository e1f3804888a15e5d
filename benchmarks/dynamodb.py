"""`DynamoDBStore`, compared with the driver; on dynoxide, which has DynamoDB's interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiobotocore.session import get_session
from key_value.aio.stores.dynamodb import DynamoDBStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import DynamoDBStore
from kvwrap.testing.servers import DynamoDBServer

REGION = "eu-1"
TABLE = "bare"


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's calls in parts of the same sizes."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    with DynamoDBServer() as server:
        async with (
            get_session().create_client(
                "dynamodb", region_name=REGION, endpoint_url=server.url
            ) as client,
            DynamoDBStore("ours", region=REGION, endpoint_url=server.url, timeout=60) as store,
            TheirStore(table_name="theirs", region_name=REGION, endpoint_url=server.url) as peer,
        ):
            await client.create_table(
                TableName=TABLE,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            )

            async def get(key: str) -> Any:
                answer = await client.get_item(
                    TableName=TABLE, Key={"k": {"S": key}}, ConsistentRead=True
                )
                return orjson.loads(answer["Item"]["v"]["B"])

            async def put(key: str, value: Any) -> None:
                await client.put_item(TableName=TABLE, Item=_item(key, value))

            async def get_many(keys: list[str]) -> Any:
                wanted = {"Keys": [{"k": {"S": key}} for key in keys], "ConsistentRead": True}
                answer = await client.batch_get_item(RequestItems={TABLE: wanted})
                return [orjson.loads(each["v"]["B"]) for each in answer["Responses"][TABLE]]

            async def put_many(keys: list[str], values: list[Any]) -> None:
                puts = [{"PutRequest": {"Item": _item(*pair)}} for pair in zip(keys, values)]
                parts = [puts[start : start + 25] for start in range(0, len(puts), 25)]
                await asyncio.gather(
                    *(client.batch_write_item(RequestItems={TABLE: part}) for part in parts)
                )

            bare = round_trips.Bare(get, put, get_many, put_many)
            async for row in round_trips.rows("`DynamoDBStore`", store, bare, peer):
                yield row


def _item(key: str, value: Any) -> dict[str, Any]:
    return {"k": {"S": key}, "v": {"B": orjson.dumps(value)}}
