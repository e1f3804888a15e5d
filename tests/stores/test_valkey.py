"""ValkeyStore: its URLs, its errors, and entries that RedisStore reads as well."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    RedisStore,
    StoreUnavailable,
    ValkeyStore,
    from_config,
    store_from_url,
    to_config,
)
from kvwrap.testing.servers import SharedServers, ValkeyCluster, ValkeySentinel, ValkeyServer


async def test_entries_are_those_of_redis(servers: SharedServers) -> None:
    url = servers.url(ValkeyServer)
    async with store_from_url(f"{url}?namespace=v&timeout=30") as store:
        assert isinstance(store, ValkeyStore)
        await store.put("a", {"b": 1}, ttl=50)
        async with RedisStore(url.replace("valkey", "redis"), namespace="v") as other:
            assert await other.get("a") == {"b": 1}
        assert "in database 0 of Valkey at 127.0.0.1" in store.location
        await store.destroy()


async def test_a_cluster(servers: SharedServers) -> None:
    keys = [f"k{number}" for number in range(100)]
    async with store_from_url(f"{servers.url(ValkeyCluster)}?namespace=v") as store:
        await store.put_many(keys, keys)
        assert await store.get_many(keys) == keys
        assert await store.count() == 100
        await store.destroy()


async def test_a_service_of_sentinels() -> None:
    with ValkeySentinel() as service:
        async with store_from_url(f"{service.url}?namespace=v&timeout=30") as store:
            assert isinstance(store, ValkeyStore)
            assert "Valkey at Sentinel's service 'main'" in store.location
            assert await store.increment("a") == 1
            assert service.primary.run("DBSIZE").startswith(b":1")
            await store.destroy()


def test_configurations_name_it() -> None:
    described = {"store": {"type": "valkey", "url": "valkey://h:1/2", "namespace": "v"}}
    store = from_config(described)
    assert isinstance(store, ValkeyStore)
    assert to_config(store)["store"] == described["store"]
    assert from_config({"store": "valkeys://h"}).location.endswith("Valkey at h:6379")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h", r"must be one of Valkey.*; got the scheme 'redis'"),
        ("unix:///socket", "got the scheme 'unix'"),
        ("h:6379", "did you mean 'valkey://h:6379'"),
        ("valkey://h:1,h:2", r"valkey\+cluster:// or valkey\+sentinel://"),
        ("valkey://h?protocol=3", "a Valkey URL must not have"),
        ("valkey://h?namespace=x", "namespace= to ValkeyStore"),
    ],
)
def test_urls_that_it_does_not_take(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ValkeyStore(url)


async def test_errors_name_valkey() -> None:
    for url in ("valkey://:hunter2@127.0.0.1:1", "valkey+cluster://:hunter2@127.0.0.1:1"):
        async with ValkeyStore(url) as store:
            with pytest.raises(StoreUnavailable, match=r"Valkey at 127\.0\.0\.1:1 ") as caught:
                await store.get("a")
            assert "hunter2" not in str(caught.value)


def test_the_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "redis":
            raise ImportError(name)
        return load(name, *arguments)

    load = importlib.import_module
    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(ConfigurationError, match=r"ValkeyStore needs .*the extra 'valkey'"):
        ValkeyStore("valkey://h")
