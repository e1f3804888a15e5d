"""Keys that the server's ACL keeps from this login: no outage, and told from one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from kvwrap import AccessDenied, MemoryStore, RedisStore, Store, StoreUnavailable, stack
from kvwrap.layers.fallback import Fallback
from kvwrap.testing import RedisServer

CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "put": lambda store: store.put("k", 1, collection="secret"),
    "get": lambda store: store.get("k", collection="secret"),
    "put_many": lambda store: store.put_many(["a", "b"], [1, 2], collection="secret"),
    "put_many, ttl": lambda store: store.put_many(["a", "b"], [1, 2], collection="secret", ttl=9),
    "put_if_absent": lambda store: store.put_if_absent("k", 1, collection="secret"),
    "delete": lambda store: store.delete("k", collection="secret"),
    "expire": lambda store: store.expire("k", 4, collection="secret"),
    "increment": lambda store: store.increment("k", collection="secret"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    rules = ("on", ">pw", "~kvwrap::*", "~kvwrap:open:*", "+@all")
    with RedisServer("--user", "app", *rules) as started:
        yield started


@pytest.fixture
def url(server: RedisServer) -> str:
    return server.url.replace("redis://", "redis://app:pw@")


@pytest.mark.parametrize("call", CALLS)
async def test_a_key_outside_the_acl_is_denied(url: str, call: str) -> None:
    async with RedisStore(url) as store:
        with pytest.raises(AccessDenied, match="key patterns of its ACL") as caught:
            await CALLS[call](store)
        assert not isinstance(caught.value, StoreUnavailable)
        assert caught.value.collection == "secret"
        await store.put("k", 1, collection="open")


async def test_a_denied_key_opens_no_circuit_and_no_journal_accepts_it(
    url: str, tmp_path: object
) -> None:
    layers = stack().fallback(MemoryStore(), writes="journal", journal=f"{tmp_path}/j", failures=1)
    async with layers.over(RedisStore(url)) as store:
        for call in ("put", "delete", "increment"):
            with pytest.raises(AccessDenied):
                await CALLS[call](store)
        snapshot = store.find(Fallback).snapshot()
        assert (snapshot.state, snapshot.pending) == ("closed", 0)
        await store.put("k", 1)
