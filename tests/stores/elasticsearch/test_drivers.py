"""ElasticsearchStore: the same over either driver, also in other event loops and processes."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import traceback

import pytest
from elasticsearch import AsyncElasticsearch

from kvwrap import ConfigurationError, ElasticsearchStore, Keyring, Store, stack, store_from_url
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.names import NAMES
from kvwrap.testing.servers import ElasticsearchProxy, Reply, Request


@pytest.fixture(params=["elasticsearch", "opensearch"])
def server(request: pytest.FixtureRequest, proxy: ElasticsearchProxy) -> str:
    """Return the URL of the shared server for each of the drivers."""
    return f"{request.param}://127.0.0.1:{proxy.port}"


async def test_every_operation(server: str, prefix: str, clock: ManualClock) -> None:
    bare = ElasticsearchStore(server, index_prefix=prefix, timeout=60, clock=clock)
    async with stack().compress().encrypt(Keyring.generate()).over(bare) as store:
        await store.put_many(NAMES, NAMES, collection="c")
        assert await store.get_many([*NAMES, "none"], collection="c") == [*NAMES, None]
        for name in NAMES:
            await store.put(name, [name], ttl=10)
            assert await store.get(name) == [name]
        assert await store.keys() == sorted(NAMES)
        assert await store.count(collection="c", prefix="a") == 6
        assert await store.put_if_absent("plain", 1) is False
        assert await store.put_if_absent("new", 1) is True
        totals = await asyncio.gather(*(store.increment("n", collection="d") for _ in range(10)))
        assert sorted(totals) == list(range(1, 11))
        value, version = await store.get_versioned("new")
        assert (value, await store.compare_and_put("new", 2, version)) == (1, True)
        assert await store.compare_and_delete("new", version) is False
        assert await store.expire("new", 5)
        clock.advance(6)
        assert await store.get("new") is None
        assert await store.collections() == ["c", "d"]
        clock.advance(6)
        await store.cull()
        assert await store.keys() == []
        assert await store.delete_many(NAMES[:3], collection="c") == 3
        assert await store.delete_where(collection="c") == len(NAMES) - 3
        await store.put("large", "x" * 3_000_000)
        assert len(await store.get("large")) == 3_000_000
        assert await store.destroy() is True
        assert await store.destroy() is False


def test_one_event_loop_after_another(server: str, prefix: str) -> None:
    store = ElasticsearchStore(server, index_prefix=prefix, timeout=60)

    async def use(number: int) -> None:
        await asyncio.gather(*(store.put(f"k{index}", number) for index in range(5)))
        assert await store.get("k0") == number

    for number in range(3):
        asyncio.run(use(number))
    asyncio.run(end(store))


async def end(store: Store) -> None:
    await store.destroy()
    await store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_connections_of_its_own(server: str, prefix: str) -> None:
    async def in_parent() -> None:
        await store.put("k", "parent")
        child = os.fork()
        if child == 0:
            os._exit(in_child(store))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get("k") == "child"
        await end(store)

    store = ElasticsearchStore(server, index_prefix=prefix, timeout=60)
    asyncio.run(in_parent())


def in_child(store: Store) -> int:
    """Write in an event loop of its own. Returns the exit code."""

    async def write() -> None:
        assert await store.get("k") == "parent"
        await store.put("k", "child")
        await store.close()

    try:
        asyncio.run(write())
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


BASIC = f"Basic {base64.b64encode('Жук:kľúč'.encode()).decode()}"


@pytest.mark.parametrize(
    ("login", "option", "secret", "sent"),
    [("", "api_key=a2V5&", "a2V5", "ApiKey a2V5"), ("Жук:kľúč@", "", "kľúč", BASIC)],
    ids=["an API key", "a login in any letters"],
)
async def test_a_login_is_sent_and_not_shown(
    url: str, prefix: str, login: str, option: str, secret: str, sent: str
) -> None:
    seen = set()

    def note(request: Request) -> Reply | None:
        seen.add(request.authorization)
        return None

    with ElasticsearchProxy(url, intercept=note) as proxy:
        for scheme in ("elasticsearch", "opensearch"):
            server = f"{scheme}://{login}127.0.0.1:{proxy.port}/{prefix}?{option}timeout=60"
            async with store_from_url(server) as store:
                await store.put("a", 1)
                await store.destroy()
            assert secret not in repr(store)
    assert seen == {sent}


async def test_a_client_of_elasticsearch(proxy: ElasticsearchProxy, prefix: str) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    async with AsyncElasticsearch([url], request_timeout=60) as client:
        store = ElasticsearchStore(client=client, index_prefix=prefix, timeout=60)
        await store.put("a", 1)
        assert await store.get_many(["a", "b"]) == [1, None]
        assert "Elasticsearch at the servers of the client" in store.location
        await end(store)
        assert (await client.info())["version"]["number"] == "9.0.0"


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("elasticsearch", "elasticsearch", "elasticsearch"),
        ("opensearch", "opensearchpy", "opensearch"),
        ("opensearch", "aiohttp", "opensearch"),
    ],
)
def test_a_missing_driver_is_named(
    scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"{module!r}.*the extra {extra!r}"):
        ElasticsearchStore(f"{scheme}://localhost")
