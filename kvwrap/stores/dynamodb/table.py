"""The requests of a store to its table: batches within DynamoDB's limits, scans and deletions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from kvwrap.core.concurrency import gather
from kvwrap.stores.dynamodb import items
from kvwrap.stores.dynamodb.connections import CONDITION_FAILED, CONNECTIONS, code_of, driver
from kvwrap.stores.dynamodb.items import Condition, Item, Names
from kvwrap.stores.shared.client import Client

_KEYS_PER_READ: Final = 100
_ITEMS_PER_WRITE: Final = 25
_BYTES_PER_WRITE: Final = 700_000
"""Bytes of the items in a request, of which one is always sent. As JSON they take a third more, and
the driver sends up to 1 MiB in one step."""
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
"""Seconds before what a batch left unprocessed is sent again; each wait is up to twice as long."""


class Table:
    """A table, over a client that limits the calls.

    Args:
        client: The client.
        name: Name of the table.
    """

    def __init__(self, client: Client[Any], name: str) -> None:
        self._client = client
        self.name = name

    async def read(self, wanted: Sequence[Names]) -> dict[Names, Item]:
        """Return the items of these different names that exist, expired ones included."""
        if len(wanted) == 1:
            answer = await self.call(
                "get_item", TableName=self.name, Key=items.key_of(wanted[0]), ConsistentRead=True
            )
            return {wanted[0]: answer["Item"]} if "Item" in answer else {}

        async def read_part(part: Sequence[Names]) -> list[Item]:
            found: list[Item] = []
            left: Any = {
                self.name: {
                    "Keys": [items.key_of(each) for each in part],
                    "ConsistentRead": True,
                }
            }
            waits = _waits()
            while left:
                answer = await self.call("batch_get_item", RequestItems=left)
                found += answer["Responses"].get(self.name, ())
                left = answer.get("UnprocessedKeys")
                if left:  # those beyond 16 MB, or what it is asked too much of
                    await asyncio.sleep(next(waits))
            return found

        parts = [
            wanted[start : start + _KEYS_PER_READ]
            for start in range(0, len(wanted), _KEYS_PER_READ)
        ]
        found = await gather([read_part(part) for part in parts])
        return {items.names_of(item): item for part in found for item in part}

    async def scan(self, **arguments: Any) -> AsyncIterator[Sequence[Item]]:
        """Iterate over the pages of the whole table."""
        start: Mapping[str, Any] = {}
        while True:
            answer = await self.call(
                "scan",
                TableName=self.name,
                ProjectionExpression=items.LISTED,
                ConsistentRead=True,
                **arguments,
                **start,
            )
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def send(self, requests: Mapping[Names, Any], done: set[Names]) -> None:
        """Send requests to put or delete items, 25 at a time, and add those done to `done`."""

        async def send_part(part: Sequence[Names]) -> None:
            left = list(part)
            waits = _waits()
            while left:
                request = {self.name: [requests[names] for names in left]}
                answer = await self.call("batch_write_item", RequestItems=request)
                rest = answer.get("UnprocessedItems", {}).get(self.name, ())
                unprocessed = {_names_in(each) for each in rest}
                done.update(names for names in left if names not in unprocessed)
                left = [names for names in left if names in unprocessed]
                if left:
                    await asyncio.sleep(next(waits))

        await gather([send_part(part) for part in _parts(requests)])

    async def delete_if(self, client: Any, names: Names, condition: Condition) -> bool:
        """Delete an item if a condition holds. Returns True if it was deleted."""
        try:
            await client.delete_item(
                TableName=self.name,
                Key=items.key_of(names),
                ConditionExpression=condition.expression,
                ExpressionAttributeValues=condition.values,
            )
        except driver("botocore.exceptions").ClientError as error:
            if code_of(error) != CONDITION_FAILED:
                raise
            return False
        return True

    async def free(self, names: Sequence[Names], condition: Condition) -> None:
        """Delete those of some items for which a condition holds."""

        async def free(client: Any, index: int) -> bool:
            return await self.delete_if(client, names[index], condition)

        keys = [f"{each.collection}\0{each.key}" for each in names]
        await self._client.run_each(None, keys, free, at_once=CONNECTIONS)

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the driver's client."""
        return await self._client.run(lambda client: getattr(client, method)(**arguments))


def _parts(requests: Mapping[Names, Any]) -> list[list[Names]]:
    """Divide a batch into requests that DynamoDB takes, and that are sent without a stall."""
    parts: list[list[Names]] = [[]]
    total = 0
    for names, request in requests.items():
        size = items.size(request["PutRequest"]["Item"]) if "PutRequest" in request else 0
        if len(parts[-1]) == _ITEMS_PER_WRITE or (parts[-1] and total + size > _BYTES_PER_WRITE):
            parts.append([])
            total = 0
        parts[-1].append(names)
        total += size
    return parts


def _names_in(request: Mapping[str, Any]) -> Names:
    """Return the names of the item that a request of a batch puts or deletes."""
    put = request.get("PutRequest")
    return items.names_of(request["DeleteRequest"]["Key"] if put is None else put["Item"])


def _waits() -> Iterator[float]:
    """Yield how long to wait, with jitter, each time up to twice as long."""
    longest = _FIRST_WAIT
    while True:
        yield random.uniform(longest / 2, longest)
        longest = min(2 * longest, _LONGEST_WAIT)
