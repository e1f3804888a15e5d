"""Entries as items of a DynamoDB table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, dump_entries, parse_entries, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_flag, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, CorruptEntry, KvwrapError, ValueTooLarge
from kvwrap.stores.dynamodb import items
from kvwrap.stores.dynamodb.connections import (
    CONDITION_FAILED,
    CONNECTIONS,
    DynamoDB,
    DynamoDBOptions,
    code_of,
    driver,
)
from kvwrap.stores.dynamodb.items import Item, Names
from kvwrap.stores.dynamodb.table import Table
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.tls import TLS_OPTIONS, make_endpoint_tls

_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_OPTIONS: Final = {
    "region": urls.TEXT,
    "endpoint_url": urls.TEXT,
    "create": urls.FLAG,
    "timeout": urls.NUMBER_OR_NONE,
    "max_concurrency": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}


class DynamoDBStore(ClientStore):
    """Keeps entries as items of a DynamoDB table.

    The table is created if it is missing, with on-demand capacity and with the expiry of items.
    Its partition key is the collection, and its sort key the key. Conditional writes are those of
    DynamoDB. Reads are strongly consistent, 100 keys in a request; unconditional writes go out 25
    in a request, and what DynamoDB leaves unprocessed is sent again. DynamoDB frees expired items
    within days; they are never read, and `cull` frees them now.

    Credentials come from where AWS's tools look for them. For one event loop at a time; a forked
    child gets connections of its own.

    Args:
        table: Name of the table: 3 to 255 letters, digits, `_`, `-` and `.`.
        client: A client `dynamodb` of aiobotocore to use; closing it is up to you. It is used in
            its own event loop only.
        region: The region; as AWS's tools take it if left out.
        endpoint_url: The endpoint, if it is not AWS's.
        create: False to fail if the table is missing.
        timeout: Seconds for one request, including the connection; None for no limit.
        max_concurrency: Maximum number of calls in progress; further ones wait.
        tls: True or False; it must say what the endpoint does by https:// or http://. AWS has TLS.
        ca: File with the certificates that the endpoint's is checked against.
        cert: File with this client's certificate.
        key: File with its private key, if not in `cert`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if a request took more than `timeout` seconds. Writes in
            progress may or may not have been carried out.
        StoreUnavailable: If DynamoDB cannot be reached, throttles requests, or refuses the login.
        AccessDenied: If the account may not use the table.
        ValueTooLarge: For an entry over 400 KB.
    """

    capabilities = frozenset(
        {
            Capability.KEYS,
            Capability.COLLECTIONS,
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
            Capability.CULL,
            Capability.NATIVE_TTL,
            Capability.PERSISTENT,
            Capability.SHARED,
        }
    )

    def __init__(
        self,
        table: str = "kvwrap",
        *,
        client: Any = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        create: bool = True,
        timeout: float | None = 5.0,
        max_concurrency: int = 256,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if not _TABLE.fullmatch(checked_name(table, "table")):
            raise ConfigurationError(
                f"`table` must have 3 to 255 letters, digits, _, - and .; got {table!r}"
            )
        given = {"region": region, "endpoint_url": endpoint_url, "ca": ca, "cert": cert, "key": key}
        for name, text in given.items():
            if text is not None:
                checked_name(text, name)
                if client is not None:
                    raise ConfigurationError(f"`{name}` must not be given with a client")
        if endpoint_url is not None and not endpoint_url.startswith(("http://", "https://")):
            raise ConfigurationError("`endpoint_url` must begin with https:// or http://")
        checked = make_endpoint_tls(("endpoint_url", endpoint_url), tls, ca, cert, key)
        if client is not None and not hasattr(client, "batch_get_item"):
            raise ConfigurationError(
                f"`client` must be a client `dynamodb` of aiobotocore; got {type(client).__name__}"
            )
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        server = DynamoDB(
            DynamoDBOptions(
                table=table,
                region=region,
                endpoint_url=endpoint_url,
                create=checked_flag(create, "create"),
                tls=checked,
            ),
            client,
        )
        self._location = f"table {table!r} of {server.server}"
        self._client: Client[Any] = Client(
            server,
            timeout=timeout,
            limit=checked_count(max_concurrency, "max_concurrency"),
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )
        self._table = Table(self._client, table)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `dynamodb://table?region=…&endpoint_url=…`.

        The table's name keeps its case. Options: `region`, `endpoint_url`, `create`, `timeout`,
        `max_concurrency`, `tls`, `ca`, `cert`, `key`.

        Raises:
            ConfigurationError: The URL is not one of DynamoDB, or an option is invalid.
        """
        parts = urls.split_url(url, "dynamodb")
        if parts.path or "@" in parts.netloc:
            raise ConfigurationError(
                "the URL of a DynamoDBStore must be dynamodb://table?region=…; credentials come "
                "from where AWS's tools look for them"
            )
        return cls(parts.netloc, **urls.parse_options(parts.query, _OPTIONS))

    @property
    def location(self) -> str:
        return self._location

    # -- reading -------------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if not keys:
            return []
        wanted = [items.names(collection, key) for key in keys]
        found = await self._table.read(list(dict.fromkeys(wanted)))
        stored = [items.data_of(found.get(each), each, self.name) for each in wanted]
        return parse_entries(stored, collection, keys, self.name, self.clock.time())

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        prefix = items.prefix_of(key_range.prefix)
        values = {":c": {"S": items.partition(collection)}}
        condition = f"{items.COLLECTION} = :c"
        if prefix:
            condition += f" AND begins_with({items.KEY}, :prefix)"
            values[":prefix"] = {"S": prefix}
        arguments: dict[str, Any] = {
            "TableName": self._table.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ProjectionExpression": items.LISTED,
            "ConsistentRead": True,
            "Limit": PAGE_SIZE,
        }
        if cursor is not None:
            arguments["ExclusiveStartKey"] = cursor
        answer = await self._table.call("query", **arguments)
        found = await self._named(answer["Items"])
        keys = [key for name, key in found if name == collection and key in key_range]
        return Page(keys, answer.get("LastEvaluatedKey"))

    async def _named(self, listed: Sequence[Item]) -> list[tuple[Collection, str]]:
        """Return collection and key of those of some listed items that have not expired."""
        now = self.clock.time()
        alive = [item for item in listed if items.is_live(item, now)]
        hashed = [found for item in alive if items.is_hashed(found := items.names_of(item))]
        whole = await self._table.read(hashed) if hashed else {}
        named = []
        for item in alive:
            found = items.names_of(item)
            if found in whole or not items.is_hashed(found):
                with suppress(CorruptEntry):  # of another program
                    collection, key, _ = items.parse(
                        whole.get(found, {**_ENTRYLESS, **item}), self.name
                    )
                    named.append((collection, key))
        return named

    async def list_collections(self) -> list[Collection]:
        collections: dict[str, Collection] = {}
        async for page in self._table.scan():
            new = {
                item[items.COLLECTION]["S"]: item
                for item in page
                if item[items.COLLECTION]["S"] not in collections
                and items.is_live(item, self.clock.time())
            }
            for name, _ in await self._named(list(new.values())):
                collections[items.partition(name)] = name
        return sorted(collections.values(), key=lambda name: name or "")

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        # A condition compares the version in the item with the entry's own.
        entries = with_lasting_versions(entries)
        stored = dump_entries(entries, collection, keys)
        made = [
            items.item(items.names(collection, key), collection, key, entry, data)
            for key, entry, data in zip(keys, entries, stored, strict=True)
        ]
        for key, item in zip(keys, made):
            self._check_size(collection, key, item)
        if expected is None:
            await self._write_all(collection, keys, made)
            return [True] * len(keys)
        now = self.clock.time()

        async def put(client: Any, index: int) -> bool:
            version = expected[index]
            arguments: dict[str, Any] = {}
            if version is ABSENT:
                arguments = items.if_absent(now).arguments()
            elif version is not None:
                arguments = items.if_live(now, version).arguments()
            try:
                await client.put_item(TableName=self._table.name, Item=made[index], **arguments)
            except driver("botocore.exceptions").ClientError as error:
                if code_of(error) != CONDITION_FAILED:
                    raise
                # A call whose answer was lost is repeated: then its entry is stored already.
                return items.is_same(error.response.get("Item", {}), made[index], now)
            return True

        return await self._client.run_each(collection, keys, put, at_once=CONNECTIONS)

    async def _write_all(
        self, collection: Collection, keys: Sequence[str], made: Sequence[Item]
    ) -> None:
        if len(keys) == 1:
            await self._client.run(
                lambda client: client.put_item(TableName=self._table.name, Item=made[0]),
                collection=collection,
                key=keys[0],
            )
            return
        last = {items.names_of(item): item for item in made}  # the last one of each key
        written: set[Names] = set()
        try:
            await self._table.send(
                {names: {"PutRequest": {"Item": each}} for names, each in last.items()}, written
            )
        except KvwrapError as error:
            error.collection = collection
            error.succeeded = tuple(key for key in keys if items.names(collection, key) in written)
            raise

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        now = self.clock.time()

        async def delete(client: Any, index: int) -> bool:
            version = None if expected is None else expected[index]
            if version is ABSENT:
                return False
            return await self._table.delete_if(
                client, items.names(collection, keys[index]), items.if_live(now, version)
            )

        return await self._client.run_each(collection, keys, delete, at_once=CONNECTIONS)

    async def drop(self, collection: Collection) -> bool:
        had_entries = False
        arguments: dict[str, Any] = {
            "TableName": self._table.name,
            "KeyConditionExpression": f"{items.COLLECTION} = :c",
            "ExpressionAttributeValues": {":c": {"S": items.partition(collection)}},
            "ProjectionExpression": items.LISTED,
            "ConsistentRead": True,
        }
        while True:
            answer = await self._table.call("query", **arguments)
            had_entries |= await self._drop_items(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return had_entries
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _drop_items(self, listed: Sequence[Item]) -> bool:
        """Delete items. Returns True if one had not expired."""
        now = self.clock.time()
        requests = {
            items.names_of(item): {"DeleteRequest": {"Key": items.key_of(items.names_of(item))}}
            for item in listed
        }
        await self._table.send(requests, set())
        return any(items.is_live(item, now) for item in listed)

    async def drop_all(self) -> bool:
        had_entries = False
        async for page in self._table.scan():
            had_entries |= await self._drop_items(page)
        return had_entries

    async def sweep(self) -> None:
        condition = items.if_expired(self.clock.time())
        async for page in self._table.scan(
            FilterExpression=condition.expression,
            ExpressionAttributeValues=condition.values,
        ):
            await self._table.free([items.names_of(item) for item in page], condition)

    async def ping(self) -> None:
        key = items.key_of(items.names(None, "-"))
        await self._table.call("get_item", TableName=self._table.name, Key=key)

    def _check_size(self, collection: Collection, key: str, item: Item) -> None:
        size = items.size(item)
        if size > items.LARGEST:
            raise ValueTooLarge(
                f"an entry must fit into an item of DynamoDB, {items.LARGEST} bytes with its "
                f"names; got about {size}. Nothing was written: store smaller values, for which "
                "Compression is made",
                store=self.name,
                collection=collection,
                key=key,
            )


_ENTRYLESS: Final[Mapping[str, Any]] = {"entry": {"B": b""}}
"""What a listed item lacks, of which nothing is read."""
