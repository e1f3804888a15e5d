"""Faults of servers, over every store on one: typed errors that tell what was done, no hang."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from kvwrap import Capability, Store, StoreUnavailable
from kvwrap.stores.shared import chunks
from tests import catalog
from tests.catalog import SLOW, STORES, Resources
from tests.contract.front import Front
from tests.opened import opened_files
from tests.stores.told import Told

FRONTED = (
    *("memcached", "dynamodb", "opensearch", "mongodb", "nats", "etcd", "s3", "az"),
    *("redis", "valkey", "postgresql"),
)
"""Stores whose server may be behind another port. The nodes of a cluster tell their own."""
PATIENCE = {"nats": 5}
"""Seconds for a call, where the driver waits for an answer that can no longer come."""
OWN = [*FRONTED, *("redis+cluster", "redis+sentinel", "valkey+cluster")]
OWN += ["sqlite", "lmdb", "file-tree"]
"""Stores that open connections or files."""
KEYS = [f"k{number:03}" for number in range(400)]


@pytest.fixture
def front() -> Iterator[Front]:
    with Front() as front:
        yield front


@pytest.fixture
def make(
    store_name: str, resources: Resources, front: Front, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Store]:
    """Return a function that creates the store, behind the front or not."""
    monkeypatch.setattr(catalog, "PATIENCE", PATIENCE.get(store_name, 30))
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 25)  # several round trips for a batch
    places: dict[str, str] = {}

    def url(kind: Any) -> str:
        direct = resources.url(kind)
        if direct not in places:
            places[direct] = front.before(direct)
        return places[direct]

    behind = replace(resources, url=url)
    return lambda direct=False: STORES[store_name](resources if direct else behind)


async def eventually(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call until the driver has found the server again."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("store_name", FRONTED)
@pytest.mark.parametrize("deletes", [False, True])
async def test_a_server_that_is_gone_in_the_middle_of_a_batch(
    store_name: str, make: Callable[..., Store], front: Front, *, deletes: bool
) -> None:
    keys = KEYS[:120] if store_name in SLOW else KEYS

    def values(text: str) -> list[str]:
        return [f"{text} {key}" for key in keys]

    async with make() as store, make(direct=True) as other:

        async def change(text: str) -> None:
            if deletes:
                await store.delete_many(keys)
            else:
                await store.put_many(keys, values(text))

        await store.put_many(keys, values("first"))
        await change("second")  # after it, everything is connected and prepared
        await other.put_many(keys, values("second"))
        before = front.answered
        await change("third")
        await other.put_many(keys, values("old"))

        front.lives_for((front.answered - before) // 2)
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:") as caught:
            await change("new")
        done = caught.value.succeeded
        assert done is not None
        assert len(done) < len(keys)
        if not deletes:
            assert done
        stored = dict(zip(keys, await other.get_many(keys)))
        for key in keys:
            new = None if deletes else f"new {key}"
            assert stored[key] in ((new,) if key in done else (new, f"old {key}"))

        front.recover()
        await eventually(lambda: store.put("a", 1))
        assert await eventually(lambda: store.get("a")) == 1


@pytest.mark.parametrize("store_name", FRONTED)
async def test_connections_at_their_maximum(make: Callable[..., Store], front: Front) -> None:
    store = make()
    front.refuses = True
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:"):
        await store.put("a", 1)
    front.recover()
    async with store:
        await eventually(lambda: store.put("a", 1))
        # A driver goes on with the connections that it has, or cannot.
        front.refuses = True
        results = await asyncio.gather(*(store.get("a") for _ in range(20)), return_exceptions=True)
        assert all(each == 1 or isinstance(each, StoreUnavailable) for each in results)
        front.recover()
        assert await eventually(lambda: store.get("a")) == 1


@pytest.mark.parametrize("store_name", FRONTED)
async def test_closing_does_not_wait_for_a_server_that_hangs(
    make: Callable[..., Store], front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as store:
        await store.put("a", 1)
    monkeypatch.setattr(catalog, "PATIENCE", 1)
    async with make() as store:
        await eventually(lambda: store.put("a", 1))
        front.hangs = True
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:"):
            await store.put_many(["a", "b"], [2, 2])
    front.recover()
    async with make(direct=True) as other:
        assert await eventually(lambda: other.get("a")) in (1, 2)


@pytest.mark.parametrize("store_name", OWN)
async def test_nothing_is_left_after_close(store_name: str, resources: Resources) -> None:
    def left() -> tuple[set[Any], ...]:
        # The threads of an event loop look up the names of hosts.
        own = {thread for thread in threading.enumerate() if "asyncio_" not in thread.name}
        return asyncio.all_tasks(), own, opened_files()

    async with STORES[store_name](resources) as store:
        await store.put("a", 1)  # starts the server and loads the driver
    before = left()
    for _ in range(2):
        async with STORES[store_name](resources) as store:
            await store.put_many(KEYS[:20], KEYS[:20], ttl=60)
            await asyncio.gather(*(store.increment(key) for key in "abc"))
            assert await store.get_many(KEYS[:20]) == KEYS[:20]
            if Capability.KEYS in store.capabilities:
                assert {"a", "b", "c"} <= set(await store.keys())
            if Capability.WATCH in store.capabilities:
                async with Told(store):
                    pass
            call = asyncio.create_task(store.get_many(KEYS))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            del call  # its traceback refers to the connections
    for number, each in enumerate(before):
        while not left()[number] <= each:  # a connection ends a moment after its close
            gc.collect()
            await asyncio.sleep(0.01)
