"""DynamoDBStore: tables, limits of batches and items, names, ready clients and URLs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    DynamoDBStore,
    StoreUnavailable,
    ValueTooLarge,
    store_from_url,
)
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import MotoServer, SharedServers


async def test_the_table_is_made_with_its_expiry(
    store: DynamoDBStore, client: Any, table: str, clock: ManualClock
) -> None:
    await store.put("a", 1, collection="c", ttl=1.5)
    described = (await client.describe_table(TableName=table))["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = (await client.describe_time_to_live(TableName=table))["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl")
    key = {"c": {"S": "c"}, "k": {"S": "a"}}
    item = (await client.get_item(TableName=table, Key=key))["Item"]
    # In whole seconds, and never before the end of the entry.
    assert item["ttl"] == {"N": str(int(clock.time()) + 2)}


async def test_a_missing_table_is_not_made_if_it_must_exist(url: str, table: str) -> None:
    store = DynamoDBStore(table, region="eu-1", endpoint_url=url, create=False)
    with pytest.raises(StoreUnavailable, match=f"no table '{table}'"):
        await store.get("a")
    await store.close()


async def test_what_only_reads_changes_no_settings_of_the_table(
    client: Any, url: str, table: str
) -> None:
    await client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("c", "k")],
        KeySchema=[
            {"AttributeName": "c", "KeyType": "HASH"},
            {"AttributeName": "k", "KeyType": "RANGE"},
        ],
    )
    states = []
    for creates in (False, True):
        store = DynamoDBStore(table, region="eu-1", endpoint_url=url)
        store.creates = creates
        async with store:
            assert await store.get("a") is None
        found = await client.describe_time_to_live(TableName=table)
        states.append(found["TimeToLiveDescription"]["TimeToLiveStatus"])
    assert states == ["DISABLED", "ENABLED"]


async def test_a_table_of_another_shape_is_left_alone(client: Any, url: str, table: str) -> None:
    await client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    store = DynamoDBStore(table, region="eu-1", endpoint_url=url)
    with pytest.raises(ConfigurationError, match="give the store another table"):
        await store.put("a", 1)
    await store.close()


async def test_an_item_of_another_program_is_an_error(
    store: DynamoDBStore, client: Any, table: str
) -> None:
    await store.put("b", 1)
    key = {"c": {"S": "%"}, "k": {"S": "a"}}
    others = ({"S": "x"}, {"B": b"x"}, {"B": b""}, {"NULL": True}, {"N": "5"}, {"L": []})
    for other in ({}, *({"entry": each} for each in others)):
        await client.put_item(TableName=table, Item={**key, **other})
        with pytest.raises(CorruptEntry):
            await store.get("a")
        with pytest.raises(CorruptEntry):
            await store.increment("a")
        assert await store.put_if_absent("a", 1) is False
    assert await store.get("b") == 1


async def test_listings_pass_by_items_of_other_programs(
    store: DynamoDBStore, client: Any, table: str
) -> None:
    await store.put("a", 1, collection="c")
    for key, others in (("x", {"expires": {"S": "soon"}}), ("%zz", {}), ("y", {})):
        await client.put_item(TableName=table, Item={"c": {"S": "%zz"}, "k": {"S": key}, **others})
    assert await store.collections() == ["c"]
    assert await store.keys("c") == ["a"]


async def test_a_batch_that_is_never_processed_ends() -> None:
    class Throttled:
        async def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803  # as the driver's
            return {"Responses": {}, "UnprocessedKeys": RequestItems}

        async def batch_write_item(self, RequestItems: Any) -> Any:  # noqa: N803
            return {"UnprocessedItems": RequestItems}

        async def describe_table(self, TableName: str) -> Any:  # noqa: N803
            schema = [
                {"AttributeName": "c", "KeyType": "HASH"},
                {"AttributeName": "k", "KeyType": "RANGE"},
            ]
            return {"Table": {"TableStatus": "ACTIVE", "KeySchema": schema}}

        async def update_time_to_live(self, **arguments: Any) -> None:
            pass

    async with DynamoDBStore("table", client=Throttled()) as throttled:
        with pytest.raises(StoreUnavailable, match="asked too much of"):
            await throttled.get_many(["a", "b"])
        with pytest.raises(StoreUnavailable, match="asked too much of") as caught:
            await throttled.put_many(["a", "b"], [1, 2])
        assert caught.value.succeeded == ()


async def test_batches_beyond_the_limits_of_a_request(store: DynamoDBStore) -> None:
    keys = [f"k{number:03}" for number in range(260)]
    await store.put_many([*keys, "k000"], [*range(260), "last"])
    assert await store.get_many([*keys, "k000"]) == ["last", *range(1, 260), "last"]
    # Over 16 MB, DynamoDB answers a part of the batch.
    large = ["x" * 300_000] * 60
    await store.put_many(keys[:60], large)
    assert await store.get_many(keys[:60]) == large
    assert await store.delete_many(keys) == 260


async def test_an_item_over_the_limit_in_the_middle_of_a_batch(store: DynamoDBStore) -> None:
    with pytest.raises(ValueTooLarge, match=r"409600 bytes.*Nothing was written") as caught:
        await store.put_many(["a", "b", "c"], [1, "x" * 410_000, 3])
    assert caught.value.key == "b"
    assert await store.get_many(["a", "b", "c"]) == [None] * 3
    await store.put("b", "x" * 409_000)
    assert len(await store.get("b")) == 409_000


async def test_late_expiry_is_never_read(
    store: DynamoDBStore, client: Any, table: str, clock: ManualClock
) -> None:
    await store.put_many(["a", "b"], [1, 2], ttl=[10, None])
    clock.advance(10)
    assert (await client.scan(TableName=table))["Count"] == 2
    assert await store.get_many(["a", "b"]) == [None, 2]
    assert await store.keys() == ["b"]
    assert await store.delete("a") is False
    assert await store.increment("a") == 1
    await store.put("c", 1, ttl=1)
    clock.advance(1)
    await store.cull()
    assert (await client.scan(TableName=table))["Count"] == 2


async def test_long_names_and_names_that_look_escaped(store: DynamoDBStore) -> None:
    names = ["ü" * 512, "k" * 1024, "k" * 1025, "k" * 5000, "%", "%25", "%%", "a\0b"]
    for collection in (None, "c" * 1500, "%"):
        await store.put_many(names, names, collection=collection)
        assert sorted(await store.keys(collection)) == sorted(names)
        assert sorted(await store.keys(collection, limit=3)) <= sorted(names)
        assert await store.count(collection=collection, prefix="k" * 1000) == 3
    assert await store.collections() == ["%", "c" * 1500]
    assert await store.destroy_collection("c" * 1500)
    assert await store.collections() == ["%"]


async def test_destroying_leaves_other_tables_alone(url: str, table: str) -> None:
    async with (
        DynamoDBStore(table, region="eu-1", endpoint_url=url, timeout=60) as one,
        DynamoDBStore(table + "x", region="eu-1", endpoint_url=url, timeout=60) as two,
    ):
        await one.put_many([f"k{number}" for number in range(60)], range(60), collection="c")
        await two.put("a", 1)
        assert await one.destroy()
        assert not await one.destroy()
        assert await two.get("a") == 1


async def test_moto_answers_likewise(servers: SharedServers, table: str) -> None:
    store = DynamoDBStore(
        table, region="eu-west-1", endpoint_url=servers.url(MotoServer), timeout=60
    )
    async with store:
        keys = [f"k{number}" for number in range(30)]
        await store.put_many(keys, range(30), collection="c")
        assert await store.get_many(keys, collection="c") == list(range(30))

        async def count() -> None:
            for _ in range(10):
                await store.increment("n")

        await asyncio.gather(*(count() for _ in range(4)))
        assert await store.get("n") == 40
        assert await store.put_if_absent("n", 1) is False
        assert sorted(await store.keys("c")) == sorted(keys)
        assert await store.destroy()


async def test_a_client_of_the_user_is_not_closed(client: Any, table: str) -> None:
    async with DynamoDBStore(table, client=client) as store:
        await store.put("a", 1)
    assert (await client.describe_table(TableName=table))["Table"]["TableName"] == table
    other = DynamoDBStore(table, client=client)
    assert await other.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(other.get("a")))


def test_urls() -> None:
    store = store_from_url("dynamodb://Sessions?region=eu-central-1&create=false&timeout=none")
    assert isinstance(store, DynamoDBStore)
    assert store.location == "table 'Sessions' of DynamoDB at eu-central-1"
    store = store_from_url("dynamodb://t-1?region=eu-1&endpoint_url=http://127.0.0.1:1")
    assert "http://127.0.0.1:1" in store.location


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://ab?region=eu-1",
        "dynamodb://table/path?region=eu-1",
        "dynamodb://key:secret@table",
        "dynamodb://table?region=eu-1&endpoint_url=ftp://x",
        "dynamodb://table?region=",
        "dynamodb://table?regio=x",
    ],
)
def test_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store_from_url(url)
    assert "secret" not in str(caught.value)


def test_a_region_must_be_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for make in (DynamoDBStore, lambda: store_from_url("dynamodb://table")):
        with pytest.raises(ConfigurationError, match=r"must have a region.*AWS_DEFAULT_REGION"):
            make()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-2")
    assert DynamoDBStore("table").location == "table 'table' of DynamoDB at eu-2"


def test_a_client_excludes_a_region() -> None:
    made: Any = type("Client", (), {"batch_get_item": None})()
    with pytest.raises(ConfigurationError, match="`region` must not be given with a client"):
        DynamoDBStore("table", client=made, region="eu-1")
    with pytest.raises(ConfigurationError, match="a client `dynamodb` of aiobotocore; got object"):
        DynamoDBStore("table", client=object())


def test_the_description_of_the_service_is_read_once_for_each_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DynamoDBStore("one", region="eu-1")
    paths: list[str] = []
    load = JSONFileLoader.load_file

    def note(loader: JSONFileLoader, path: str) -> Any:
        paths.append(path)
        return load(loader, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", note)
    DynamoDBStore("two", region="eu-1")
    assert paths == []
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    DynamoDBStore("three", region="eu-1")
    assert str(tmp_path / "dynamodb") in "".join(paths)


def test_the_tests_have_credentials_that_mean_nothing() -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"]
