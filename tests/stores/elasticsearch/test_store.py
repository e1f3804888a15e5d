"""ElasticsearchStore: the index, names, batches, listings, ready clients and URLs."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from opensearchpy import AsyncOpenSearch

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    ElasticsearchStore,
    InvalidKey,
    Store,
    StoreUnavailable,
    ValueTooLarge,
    adapt,
    store_from_url,
)
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import ElasticsearchProxy, Reply, Request

LONGEST = 32_766


async def test_all_collections_are_in_one_index(
    store: ElasticsearchStore, client: Any, prefix: str, clock: ManualClock
) -> None:
    await store.put("a", 1, ttl=1.5)
    await store.put("a", 2, collection="c")
    (index,) = (await client.indices.get_alias(index=prefix)).items()
    assert index == (f"{prefix}-000001", {"aliases": {prefix: {}}})
    mapping = (await client.indices.get_mapping(index=prefix))[index[0]]["mappings"]
    assert mapping["dynamic"] == "strict"
    found = (await client.get(index=prefix, id=":a"))["_source"]
    assert (found["collection"], found["key"]) == ("", "a")
    assert found["expires"] == int((clock.time() + 1.5) * 1000)
    assert (await client.get(index=prefix, id="c:a"))["_source"]["collection"] == "c"


async def test_an_index_that_was_deleted_is_made_again_as_it_was(
    store: ElasticsearchStore, client: Any, prefix: str
) -> None:
    for write in (
        lambda: store.put("a", 1),
        lambda: store.put_many(["a", "b"], [1, 2]),
        lambda: store.put_if_absent("a", 1),
    ):
        await store.put("z", 1)
        await client.indices.delete(index=f"{prefix}-000001")
        assert await store.get("z") is None
        assert await store.get_many(["z", "a"]) == [None, None]
        assert await store.keys() == []
        assert await store.collections() == []
        assert await store.count() == 0
        assert await store.delete("z") is False
        assert await store.destroy() is False
        await store.check()
        assert not await client.indices.exists(index=prefix)
        await write()
        assert await store.get("a") == 1
        mapping = (await client.indices.get_mapping(index=prefix))[f"{prefix}-000001"]
        assert mapping["mappings"]["dynamic"] == "strict"


@pytest.mark.parametrize("place", ["alias", "index"])
async def test_an_index_of_another_shape_is_left_alone(
    url: str, client: Any, prefix: str, place: str
) -> None:
    name, aliases = (prefix, {}) if place == "index" else (f"{prefix}-other", {prefix: {}})
    body = {"aliases": aliases, "mappings": {"properties": {"title": {"type": "text"}}}}
    await client.indices.create(index=name, body=body)
    store = ElasticsearchStore(url, index_prefix=prefix, timeout=60)
    for call in (store.put("a", 1), store.get("a"), store.destroy()):
        with pytest.raises(ConfigurationError, match="choose another index_prefix"):
            await call
    await store.close()
    assert (await client.count(index=prefix))["count"] == 0
    await client.indices.delete(index=name)


async def test_an_index_without_its_alias_is_left_alone(url: str, client: Any, prefix: str) -> None:
    await client.indices.create(index=f"{prefix}-000001")
    store = ElasticsearchStore(url, index_prefix=prefix, timeout=60)
    with pytest.raises(ConfigurationError, match=f"must have the alias '{prefix}'"):
        await store.put("a", 1)
    await store.close()
    await client.indices.delete(index=f"{prefix}-000001")


async def test_a_document_of_another_program_is_an_error(
    store: ElasticsearchStore, client: Any, prefix: str
) -> None:
    await store.put("b", 1)
    others: list[dict[str, Any]] = [{"entry": each} for each in ("YWJj", "?", "", None, 5, [])]
    for other in ({}, *others, {"version": "no", "key": "a"}):
        await client.index(index=prefix, id=":a", body=other)
        with pytest.raises(CorruptEntry):
            await store.get("a")
        with pytest.raises(CorruptEntry):
            await store.get_many(["a", "b"])
        with pytest.raises(CorruptEntry):
            await store.increment("a")
        assert await store.put_if_absent("a", 1) is False
    assert await store.get("b") == 1
    await store.put("a", 1)
    assert await store.get("a") == 1


async def test_long_names_and_names_that_look_escaped(store: ElasticsearchStore) -> None:
    names = [
        "ü" * 256,
        "k" * 511,
        "k" * 512,
        "k" * 5000,
        "~",
        "~7e",
        "~~",
        "%3A",
        "a\0b",
        "..",
        ":",
    ]
    names += ["x" * LONGEST, "ü" * (LONGEST // 2)]
    for collection in (None, "c" * 600, "~", ":", "%"):
        await store.put_many(names, names, collection=collection)
        assert await store.keys(collection) == sorted(names)
        assert [await store.get(name, collection=collection) for name in names] == names
        assert await store.count(collection=collection, prefix="k" * 500) == 3
    assert await store.collections() == sorted(["c" * 600, "~", ":", "%"])
    await store.put("k", 1, collection="x" * LONGEST)
    assert await store.keys("x" * LONGEST) == ["k"]


async def test_names_beyond_the_limit_of_a_keyword(store: ElasticsearchStore) -> None:
    for name in ("x" * (LONGEST + 1), "ü" * (LONGEST // 2 + 1)):
        for call in (
            store.put(name, 1),
            store.get(name),
            store.put_many(["a", name], [1, 2]),
            store.put("a", 1, collection=name),
            store.delete(name),
        ):
            with pytest.raises(InvalidKey, match="at most 32766 bytes"):
                await call
    assert await store.get("a") is None


async def test_keys_are_in_the_order_of_code_points(store: ElasticsearchStore) -> None:
    names = [
        "\0",
        "a",
        "a\0",
        "aa",
        "b" * 600 + "a",
        "b" * 600 + "b",
        "é",
        "\ufffe",
        "😀",
        "\U0010ffff",
    ]
    await store.put_many(names[::-1], names[::-1])
    assert await store.keys() == names
    assert [key async for key in store.scan(start="b", end="\ufffe")] == names[4:7]
    assert [key async for key in store.scan(prefix="b", start="b" * 600 + "aa")] == [names[5]]
    assert [key async for key in store.scan(prefix="\U0010ffff")] == [names[9]]


async def test_listings_of_several_pages(store: ElasticsearchStore) -> None:
    keys = [f"k{number:04}" for number in range(1203)]
    await store.put_many(keys, keys, collection="c")
    await store.put_many(keys[:1100], keys[:1100], collection="d")
    assert await store.keys("c") == keys
    assert await store.count(collection="c", prefix="k0") == 1000
    assert await store.delete_where(collection="c", prefix="k") == 1203
    assert await store.destroy_collection("c") is False
    assert await store.destroy_collection("d") is True
    assert await store.collections() == []


async def test_more_collections_than_in_a_page(store: ElasticsearchStore) -> None:
    names = [f"c{number:04}" for number in range(1002)]
    await asyncio.gather(*(store.put("k", 1, collection=name) for name in names))
    assert await store.collections() == names


async def test_expired_documents_are_hidden_until_they_are_freed(
    store: ElasticsearchStore, client: Any, prefix: str, clock: ManualClock
) -> None:
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=[10, 20, None])
    clock.advance(10)
    assert await store.get_many(["a", "b", "c"]) == [None, 2, 3]
    assert await store.keys() == ["b", "c"]
    assert await store.count() == 2
    assert await store.delete("a") is False
    assert (await client.count(index=prefix))["count"] == 3
    await store.cull()
    await client.indices.refresh(index=prefix)
    assert (await client.count(index=prefix))["count"] == 2
    clock.advance(10)
    assert await store.increment("b") == 1
    assert await store.delete_where() == 2


async def test_destroying_leaves_other_indices_alone(
    store: ElasticsearchStore, url: str, client: Any, prefix: str
) -> None:
    async with ElasticsearchStore(url, index_prefix=f"{prefix}-2", timeout=60) as other:
        await other.put("a", 1)
        await store.put("a", 1)
        assert await store.destroy() is True
        assert await store.destroy() is False
        assert not await client.indices.exists(index=f"{prefix}-000001")
        assert await other.get("a") == 1
        await other.destroy()


async def test_an_alias_of_several_indices_is_left_alone(
    url: str, client: Any, prefix: str
) -> None:
    names = [f"{prefix}-{number}" for number in range(2)]
    for name in names:
        await client.indices.create(index=name, body={"aliases": {prefix: {}}})
    store = ElasticsearchStore(url, index_prefix=prefix, timeout=60)
    with pytest.raises(ConfigurationError, match="must have one index; it has 2"):
        await store.get("a")
    await store.close()
    for name in names:
        await client.indices.delete(index=name)


async def test_a_key_twice_in_a_batch(store: ElasticsearchStore) -> None:
    await store.put_many(["a", "b", "a"], [1, 2, 3])
    assert await store.get_many(["a", "b", "a"]) == [3, 2, 3]
    assert await store.delete_many(["a", "a", "b"]) == 2


async def test_an_entry_over_the_limit_in_the_middle_of_a_batch(
    proxy: ElasticsearchProxy, url: str, prefix: str
) -> None:
    def limit(request: Request) -> Reply | None:
        nodes = {"n": {"http": {"max_content_length_in_bytes": 3_000_000}}}
        return Reply(200, {"nodes": nodes}) if request.path == "/_nodes/http" else None

    with ElasticsearchProxy(url, intercept=limit) as limited:
        store = ElasticsearchStore(f"opensearch://127.0.0.1:{limited.port}/{prefix}", timeout=60)
        async with store:
            with pytest.raises(
                ValueTooLarge, match=r"3000000 bytes.*Nothing was written"
            ) as caught:
                await store.put_many(["a", "b", "c"], [1, "x" * 3_000_000, 3])
            assert caught.value.key == "b"
            assert await store.get_many(["a", "b", "c"]) == [None] * 3
            # Several requests, each below the limit.
            keys = [f"k{number}" for number in range(5)]
            await store.put_many(keys, ["x" * 1_500_000] * 5)
            assert await store.get_many(keys) == ["x" * 1_500_000] * 5
            await store.destroy()


async def test_a_large_value(store: ElasticsearchStore) -> None:
    await store.put("a", "x" * 8_000_000)
    assert len(await store.get("a")) == 8_000_000


async def test_a_client_of_the_user_is_not_closed(client: Any, prefix: str) -> None:
    async with ElasticsearchStore(client=client, index_prefix=prefix) as store:
        await store.put("a", 1)
        assert "OpenSearch at the servers of the client" in store.location
        await store.put("b", "x" * 10_000)
    assert await client.indices.exists(index=prefix)
    other = ElasticsearchStore(client=client, index_prefix=prefix)
    assert await other.get("a") == 1
    with pytest.raises(StoreUnavailable, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(other.get("a")))
    await other.destroy()


async def test_nothing_is_left_after_close(url: str, prefix: str) -> None:
    before = {id(task) for task in asyncio.all_tasks()}
    store = ElasticsearchStore(url, index_prefix=prefix, timeout=60)
    await asyncio.gather(*(store.put(f"k{number}", number) for number in range(20)))
    await store.destroy()
    await store.close()
    await asyncio.sleep(0)
    assert {id(task) for task in asyncio.all_tasks()} <= before
    del store
    gc.collect()  # an open session or connection would warn


def test_urls() -> None:
    store = store_from_url(
        "opensearch://ada:secret@one:1,two/sessions?timeout=none&max_connections=3"
    )
    assert isinstance(store, ElasticsearchStore)
    assert store.location == "index 'sessions' of OpenSearch at one:1,two:9200"
    store = store_from_url("elasticsearch://one?api_key=secret&tls=true")
    assert store.location == "index 'kvwrap' of Elasticsearch at one:9200"
    assert "secret" not in repr(store)


@pytest.mark.parametrize(
    "url",
    [
        "elasticsearch://h/Upper",
        "elasticsearch://h/-a",
        "elasticsearch://h/a/b",
        "elasticsearch://h/a,b",
        "opensearch://h/" + "a" * 201,
        "opensearch://h:secret/p",
        "opensearch://ada:secret@h/p?api_key=k",
        "opensearch://h/p?nope=secret",
        "opensearch://h/p?tls=false&ca=x",
        "https://ada:secret@h/p",
    ],
)
def test_urls_that_cannot_work(url: str) -> None:
    for make in (store_from_url, ElasticsearchStore):
        with pytest.raises(ConfigurationError) as caught:
            make(url)
        assert "secret" not in str(caught.value)


def test_arguments_that_exclude_each_other() -> None:
    client = AsyncOpenSearch(["http://127.0.0.1:1"])
    made: Any = client
    wrong: Any = object()
    with pytest.raises(ConfigurationError, match="either `url` or `client`"):
        ElasticsearchStore()
    with pytest.raises(ConfigurationError, match="`api_key` must not be given with a client"):
        ElasticsearchStore(client=made, api_key="k")
    with pytest.raises(ConfigurationError, match="given once; got 'q'"):
        ElasticsearchStore("opensearch://h/p", index_prefix="q")
    with pytest.raises(ConfigurationError, match="AsyncOpenSearch; got object"):
        ElasticsearchStore(client=wrong)
    with pytest.raises(ConfigurationError, match=r"ElasticsearchStore\(client=AsyncOpenSearch"):
        adapt(made)
    assert isinstance(ElasticsearchStore(client=made), Store)
