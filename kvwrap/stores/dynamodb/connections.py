"""Clients of DynamoDB, the table, and the translation of the driver's errors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from kvwrap.core.optional import need
from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.dynamodb.items import COLLECTION, FREED_AT, KEY
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import Tls
from kvwrap.stores.shared.transports import end_connector
from kvwrap.stores.shared.urls import endpoint_servers

CONNECTIONS: Final = 50
"""Connections of a client, and so the calls that a batch has in progress."""
CONDITION_FAILED: Final = "ConditionalCheckFailedException"
_THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "InternalServerError",
        "ServiceUnavailable",
    }
)
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied"})
_LOGIN: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "ExpiredTokenException",
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
    }
)
_POLL: Final = 0.1
"""Seconds between looks at a table that is being made."""


@dataclass(frozen=True, kw_only=True)
class DynamoDBOptions:
    """The table and where it is; the arguments of `DynamoDBStore`, which documents them."""

    table: str
    region: str | None
    endpoint_url: str | None
    create: bool
    tls: Tls | None = None


def driver(module: str) -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="dynamodb", wanted_by="DynamoDBStore")


@cache
def _descriptions(folders: str | None) -> Any:
    """Return the descriptions of services in these folders, for all stores of the process.

    That of DynamoDB is read from its file here, not in an event loop, and takes 60 ms.
    """
    loader = driver("botocore.loaders").create_loader(folders)
    loader.load_service_model("dynamodb", "service-2")
    return loader


def code_of(error: Exception) -> str:
    """Return the code of an error that DynamoDB answered with, or an empty text."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


class DynamoDB(Driver[Any]):
    """Makes clients as AWS's tools do, with credentials from where those look for them.

    Args:
        options: The table.
        client: A client of aiobotocore of the user's, or None.
    """

    def __init__(self, options: DynamoDBOptions, client: Any) -> None:
        self._options = options
        self._client = client
        self._session = driver("aiobotocore.session").get_session()
        descriptions = _descriptions(self._session.get_config_variable("data_path"))
        self._session.register_component("data_loader", descriptions)
        region = options.region or self._session.get_config_variable("region")
        self.server = f"DynamoDB at {options.endpoint_url or region}"
        self.servers = endpoint_servers(options.endpoint_url)
        if client is not None:
            self.server = "DynamoDB at the endpoint of the client"
            self.servers = endpoint_servers(
                getattr(getattr(client, "meta", None), "endpoint_url", None)
            )
        elif region is None:
            raise ConfigurationError(
                "a DynamoDBStore must have a region: give it as region='eu-central-1', in a URL as "
                "?region=eu-central-1, or set AWS_DEFAULT_REGION; a local server takes any"
            )

    async def connect(self) -> Any:
        options, tls = self._options, self._options.tls or Tls()
        if self._client is not None:
            await self._ensure_table(self._client)
            return self._client
        client = await self._session.create_client(
            "dynamodb",
            region_name=options.region,
            endpoint_url=options.endpoint_url,
            verify=tls.ca,
            config=driver("aiobotocore.config").AioConfig(
                # A lost answer must not repeat a write unseen.
                retries={"total_max_attempts": 1},
                max_pool_connections=CONNECTIONS,
                client_cert=tls.cert if tls.key is None else (tls.cert, tls.key),
                # What this store sends has the right types; checking it took a third of a batch.
                parameter_validation=False,
            ),
        ).__aenter__()
        try:
            await self._ensure_table(client)
        except BaseException:
            await client.close()
            raise
        return client

    async def _ensure_table(self, client: Any) -> None:
        """Create the table unless it exists, with its expiry. Several processes may do so."""
        known = driver("botocore.exceptions")
        table = self._options.table
        while True:
            try:
                found = (await client.describe_table(TableName=table)).get("Table", {})
            except known.ClientError as error:
                if code_of(error) in _DENIED:
                    return  # an account for items only
                if code_of(error) != "ResourceNotFoundException" or not self._options.create:
                    raise
                self.check_creates(f"table {table!r}")
                await self._create(client)
                continue
            schema = {part["AttributeName"]: part["KeyType"] for part in found.get("KeySchema", ())}
            if schema != {COLLECTION: "HASH", KEY: "RANGE"}:
                raise ConfigurationError(
                    f"the table {table!r} must be one that kvwrap created, with the keys "
                    f"{COLLECTION!r} and {KEY!r}; it has others: give the store another table"
                )
            if found["TableStatus"] in ("ACTIVE", "UPDATING"):
                break
            await asyncio.sleep(_POLL)
        if not self.creates:
            return
        with suppress(known.ClientError):  # denied, or set already
            await client.update_time_to_live(
                TableName=table,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": FREED_AT},
            )

    async def _create(self, client: Any) -> None:
        try:
            await client.create_table(
                TableName=self._options.table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": "S"} for name in (COLLECTION, KEY)
                ],
                KeySchema=[
                    {"AttributeName": COLLECTION, "KeyType": "HASH"},
                    {"AttributeName": KEY, "KeyType": "RANGE"},
                ],
            )
        except driver("botocore.exceptions").ClientError as error:
            if code_of(error) != "ResourceInUseException":  # another process made it
                raise

    async def disconnect(self, client: Any) -> None:
        await client.close()

    def abandon(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        for session in client._endpoint.http_session._sessions.values():
            end_connector(session._connector, loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        known = driver("botocore.exceptions")
        if not isinstance(error, known.BotoCoreError | known.ClientError | known.HTTPClientError):
            return None
        kind, code = type(error).__name__, code_of(error)
        reason = code or kind
        if isinstance(error, known.ReadTimeoutError | known.ConnectTimeoutError):
            return StoreTimeout(
                f"{self.server} did not answer in time ({reason}): check the network, or give the "
                "store a longer timeout"
            )
        if code in _THROTTLED:
            return StoreUnavailable(
                f"{self.server} is asked too much of, or failed ({reason}): try again, for which "
                "Retry is made, or raise the table's capacity"
            )
        if code in _DENIED:
            return AccessDenied(
                f"{self.server} does not permit this account to use the table "
                f"{self._options.table!r} so ({reason}): extend its policy"
            )
        if code in _LOGIN or isinstance(
            error, known.NoCredentialsError | known.PartialCredentialsError
        ):
            return StoreUnavailable(
                f"{self.server} refuses the credentials, or there are none ({reason}): check those "
                "in the environment, in AWS's files, or of the machine"
            )
        if code == "ResourceNotFoundException":
            return StoreUnavailable(
                f"{self.server} has no table {self._options.table!r} ({reason}): create it, or let "
                "the store do so with create=True"
            )
        if code == "ValidationException" and "size" in str(error).lower():
            return ValueTooLarge(
                f"an entry must fit into an item of {self.server}, 400 KB. It was not written: "
                "store smaller values"
            )
        if code:
            return StoreUnavailable(f"{self.server} refused the request ({reason})")
        return StoreUnavailable(
            f"{self.server} cannot be reached ({reason}): check the endpoint, whether it has TLS "
            "(https://), the region and the network"
        )
