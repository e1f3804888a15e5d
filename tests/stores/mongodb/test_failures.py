"""MongoDBStore: servers that are gone or hang, and errors of the driver."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
)

from kvwrap import (
    AccessDenied,
    KvwrapError,
    MongoDBStore,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.mongodb.connections import MongoDB
from kvwrap.testing.servers import MongoDBServer


async def test_a_server_that_stops_and_comes_back(own_server: MongoDBServer) -> None:
    async with MongoDBStore(f"{own_server.url}/d", timeout=2) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await call
        own_server.start()
        while True:
            try:
                assert await store.get("a") is None
                break
            except StoreUnavailable:  # the driver looks for the server from time to time
                continue
        await store.put("a", 3)
        assert await store.get("a") == 3


async def test_a_server_that_does_not_answer(own_server: MongoDBServer) -> None:
    async with MongoDBStore(f"{own_server.url}/d", timeout=2) as store:
        await store.put("a", 1)
        own_server.freeze()
        results = await asyncio.gather(*(store.get("a") for _ in range(10)), return_exceptions=True)
        own_server.thaw()
        # A driver may find out first that the server is gone: an outage either way.
        assert all(isinstance(result, StoreUnavailable) for result in results)
        while True:
            try:
                assert await store.get("a") == 1
                break
            except StoreUnavailable:
                continue


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mongodb://user:hunter2@127.0.0.1:1/b", r"MongoDB at 127\.0\.0\.1:1 cannot be reached"),
        ("mongodb://user:hunter2@host.invalid/b", r"MongoDB at host\.invalid:27017 cannot be"),
        ("mongodb+srv://user:hunter2@host.invalid/b?w=1", r"MongoDB at host\.invalid "),
    ],
)
async def test_the_error_of_an_unreachable_server_names_it(url: str, message: str) -> None:
    async with MongoDBStore(url, timeout=2) as store:
        with pytest.raises(StoreUnavailable, match=message) as caught:
            await store.check()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (AutoReconnect("hidden"), StoreUnavailable),
        (NetworkTimeout("hidden"), StoreTimeout),
        (ExecutionTimeout("hidden", 50), StoreTimeout),
        (OperationFailure("hidden", 18), StoreUnavailable),
        (OperationFailure("hidden", 13), AccessDenied),
        (OperationFailure("hidden", 14031), StoreFull),
        (OperationFailure("hidden", 10107), StoreUnavailable),
        (DocumentTooLarge("hidden"), ValueTooLarge),
        (PyMongoError("hidden"), StoreUnavailable),
    ],
)
def test_errors_of_the_driver_are_typed_and_not_quoted(
    error: Exception, meaning: type[KvwrapError]
) -> None:
    driver = MongoDB(
        "mongodb://user:secret@one:1/d",
        None,
        database="d",
        collection="c",
        max_connections=1,
        tls=None,
        timeout=1,
    )
    found = driver.translate(error)
    assert type(found) is meaning
    assert "MongoDB at one:1" in str(found)
    assert "hidden" not in str(found)
    assert "secret" not in str(found)
    assert driver.translate(ZeroDivisionError()) is None
