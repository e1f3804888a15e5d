"""DynamoDBStore: servers that are gone or hang, and errors of the service."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from kvwrap import (
    AccessDenied,
    DynamoDBStore,
    KvwrapError,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.dynamodb.connections import DynamoDB, DynamoDBOptions
from kvwrap.testing.servers import DynamoDBServer


async def test_a_server_that_stops_and_comes_back(own_server: DynamoDBServer) -> None:
    async with DynamoDBStore("table", region="eu-1", endpoint_url=own_server.url) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await call
        own_server.start()
        assert await store.get("a") in (1, 2)
        await store.put("a", 3)
        assert await store.get("a") == 3


async def test_a_server_that_does_not_answer(own_server: DynamoDBServer) -> None:
    async with DynamoDBStore("table", region="eu-1", endpoint_url=own_server.url) as store:
        await store.put("a", 1)
    async with DynamoDBStore(
        "table", region="eu-1", endpoint_url=own_server.url, timeout=2
    ) as store:
        own_server.freeze()
        results = await asyncio.gather(*(store.get("a") for _ in range(10)), return_exceptions=True)
        own_server.thaw()
        # A driver may find out first that the server is gone: an outage either way.
        assert all(isinstance(result, StoreUnavailable) for result in results)


async def test_a_server_that_dies_in_a_batch_leaves_what_it_did(own_server: DynamoDBServer) -> None:
    keys = [f"k{number:04}" for number in range(5000)]
    async with DynamoDBStore(
        "table", region="eu-1", endpoint_url=own_server.url, timeout=30
    ) as store:
        await store.put("a", 1)
        batch = asyncio.create_task(store.put_many(keys, keys))
        while await store.exists("k0000") is False:
            pass
        own_server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            await batch
        assert caught.value.succeeded is not None
        own_server.start()
        found = await store.get_many(caught.value.succeeded)
        assert found == list(caught.value.succeeded)


async def test_the_error_of_an_unreachable_server_names_it() -> None:
    async with DynamoDBStore("table", region="eu-1", endpoint_url="http://127.0.0.1:1") as store:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
            await store.check()


async def test_missing_credentials(
    monkeypatch: pytest.MonkeyPatch, own_server: DynamoDBServer
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    async with DynamoDBStore(
        "table", region="eu-1", endpoint_url=own_server.url, timeout=30
    ) as store:
        with pytest.raises(StoreUnavailable, match="refuses the credentials, or there are none"):
            await store.get("a")


def refusal(code: str, message: str = "hidden") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "PutItem")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (refusal("ProvisionedThroughputExceededException"), StoreUnavailable),
        (refusal("ThrottlingException"), StoreUnavailable),
        (refusal("AccessDeniedException"), AccessDenied),
        (refusal("UnrecognizedClientException"), StoreUnavailable),
        (refusal("ResourceNotFoundException"), StoreUnavailable),
        (refusal("ValidationException", "Item size has exceeded"), ValueTooLarge),
        (refusal("ValidationException"), StoreUnavailable),
        (EndpointConnectionError(endpoint_url="hidden"), StoreUnavailable),
        (ReadTimeoutError(endpoint_url="hidden"), StoreTimeout),
        (NoCredentialsError(), StoreUnavailable),
    ],
)
def test_errors_of_the_service_are_typed_and_not_quoted(
    error: Exception, meaning: type[KvwrapError]
) -> None:
    options = DynamoDBOptions(table="table", region="eu-1", endpoint_url=None, create=True)
    driver = DynamoDB(options, None)
    found = driver.translate(error)
    assert type(found) is meaning
    assert "hidden" not in str(found)
    assert driver.translate(ZeroDivisionError()) is None
