"""The requests of a store to its table: batches within DynamoDB's limits, scans and deletions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from kvwrap.core.concurrency import gather
from kvwrap.errors import StoreUnavailable
from kvwrap.stores.dynamodb import items
from kvwrap.stores.dynamodb.connections import CONDITION_FAILED, CONNECTIONS, code_of, driver
from kvwrap.stores.dynamodb.items import Condition, Item, Names
from kvwrap.stores.shared.client import Client

T = TypeVar("T")

_KEYS_PER_READ: Final = 100
_ITEMS_PER_WRITE: Final = 25
_BYTES_PER_WRITE: Final = 700_000
"""Bytes of the items in a request, of which one is always sent. As JSON they take a third more, and
the driver sends up to 1 MiB in one step."""
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
"""Seconds before what a batch left unprocessed is sent again; each wait is up to twice as long."""
_MOST_IN_VAIN: Final = 8
"""Answers without progress after which a batch is given up; they take about 3 seconds."""


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
                "get_item",
                TableName=self.name,
                Key=items.key_of(wanted[0]),
                ConsistentRead=True,
                ProjectionExpression=items.READ,
            )
            return {wanted[0]: answer["Item"]} if "Item" in answer else {}

        async def read_part(part: Sequence[Names]) -> list[Item]:
            found: list[Item] = []
            left: Any = {
                self.name: {
                    "Keys": [items.key_of(each) for each in part],
                    "ConsistentRead": True,
                    "ProjectionExpression": items.READ,
                }
            }
            waits = _Waits()
            while left:
                answer = await self.call("batch_get_item", RequestItems=left)
                some = answer.get("Responses", {}).get(self.name, ())
                found += some
                left = answer.get("UnprocessedKeys")
                if left:  # those beyond 16 MB, or what it is asked too much of
                    await waits.wait(has_progressed=len(some) > 0)
            return found

        parts = [
            wanted[start : start + _KEYS_PER_READ]
            for start in range(0, len(wanted), _KEYS_PER_READ)
        ]
        found = await _some_at_once([read_part(part) for part in parts])
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
            waits = _Waits()
            while left:
                request = {self.name: [requests[names] for names in left]}
                answer = await self.call("batch_write_item", RequestItems=request)
                rest = answer.get("UnprocessedItems", {}).get(self.name, ())
                unprocessed = {_names_in(each) for each in rest}
                done.update(names for names in left if names not in unprocessed)
                sent = len(left)
                left = [names for names in left if names in unprocessed]
                if left:
                    await waits.wait(has_progressed=len(left) < sent)

        await _some_at_once([send_part(part) for part in _parts(requests)])

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


async def _some_at_once(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await calls, as many at once as have connections: the time of each has a limit."""
    results: list[T] = []
    try:
        for start in range(0, len(calls), CONNECTIONS):
            results += await gather(calls[start : start + CONNECTIONS])
    finally:
        for call in calls:
            call.close()  # those that were not begun
    return results


class _Waits:
    """The waits before what a batch left unprocessed is sent again, each up to twice as long."""

    def __init__(self) -> None:
        self._longest = _FIRST_WAIT
        self._in_vain = 0

    async def wait(self, *, has_progressed: bool) -> None:
        """Wait.

        Raises:
            StoreUnavailable: Nothing was processed for several times.
        """
        self._in_vain = 0 if has_progressed else self._in_vain + 1
        if self._in_vain == _MOST_IN_VAIN:
            raise StoreUnavailable(
                "DynamoDB leaves a batch unprocessed again and again: it is asked too much of. Try "
                "again, for which Retry is made, or raise the table's capacity"
            )
        await asyncio.sleep(random.uniform(self._longest / 2, self._longest))
        self._longest = min(2 * self._longest, _LONGEST_WAIT)
