"""MemcachedStore: a write that was given up never replaces one that was acknowledged later."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import MemcachedStore, StoreTimeout
from kvwrap.testing.servers import MemcachedServer
from tests.stores.redis.proxy import Proxy


@pytest.mark.parametrize("size", [1, 900_000])
async def test_a_write_that_was_cancelled_never_replaces_a_later_one(
    url: str, namespace: str, size: int
) -> None:
    async with (
        MemcachedStore(url, namespace=namespace) as other,
        Proxy(int(url.rpartition(":")[2])) as proxy,
        MemcachedStore(f"memcached://127.0.0.1:{proxy.port}", namespace=namespace) as store,
    ):
        await store.put("key", "first")
        proxy.hold()
        late = asyncio.create_task(store.put("key", "old" + "x" * size))
        while not proxy.holds:
            await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        later = asyncio.create_task(store.put("key", "new"))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not later.done()
        assert await other.get("key") == "first"
        proxy.release()
        await later
        assert await other.get("key") == "new"


async def test_a_write_that_timed_out_never_replaces_a_later_one(
    own_server: MemcachedServer,
) -> None:
    async with (
        MemcachedStore(own_server.url, timeout=1) as store,
        MemcachedStore(own_server.url, timeout=30) as other,
    ):
        for turn in range(8):
            await other.put("key", "first")
            await store.put("warm", turn)
            own_server.freeze()
            try:
                writing = [store.put("key", f"old {number}") for number in range(4)]
                outcomes = await asyncio.gather(*writing, return_exceptions=True)
            finally:
                own_server.thaw()
            assert {type(outcome) for outcome in outcomes} == {StoreTimeout}
            async with asyncio.timeout(60):
                while True:
                    try:
                        await store.put("key", "new")
                        break
                    except StoreTimeout:  # a second may be too short on a busy machine
                        pass
            for _ in range(5):
                assert await other.get("key") == "new"
                await asyncio.sleep(0.01)


async def test_a_wait_for_what_was_given_up_can_be_cancelled(url: str, namespace: str) -> None:
    async with (
        Proxy(int(url.rpartition(":")[2])) as proxy,
        MemcachedStore(f"memcached://127.0.0.1:{proxy.port}", namespace=namespace) as store,
    ):
        await store.put("key", "first")
        proxy.hold()
        late = asyncio.create_task(store.put("key", "old"))
        while not proxy.holds:
            await asyncio.sleep(0)
        late.cancel()
        waiting = [asyncio.create_task(store.put("key", "waits")) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(late, *waiting, return_exceptions=True)
        proxy.release()
        await store.put("key", "new")
        assert await store.get("key") == "new"


async def test_closing_does_not_wait_for_what_was_given_up(
    own_server: MemcachedServer,
) -> None:
    store = MemcachedStore(own_server.url, timeout=1)
    await store.put("key", "first")
    own_server.freeze()
    try:
        with pytest.raises(StoreTimeout):
            await store.put("key", "old")
        async with asyncio.timeout(30):
            await store.close()
    finally:
        own_server.thaw()
