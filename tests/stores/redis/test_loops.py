"""RedisStore: event loops one after another, and forked processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import uuid

import pytest
import redis.asyncio

from kvwrap import RedisStore, StoreUnavailable
from kvwrap.testing import RedisServer
from tests.stores.redis.client_list import connections

ABANDONED: list[object] = []
"""Tasks of closed loops, which never end; referenced here so that none is destroyed pending."""


async def crowd(store: RedisStore) -> None:
    keys = [f"key-{number}" for number in range(80)]
    await asyncio.gather(*(store.put(key, key) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == keys


def test_a_store_that_is_not_closed_works_in_the_next_loop(redis_url: str) -> None:
    name = uuid.uuid4().hex
    store = RedisStore(f"{redis_url}?client_name={name}", namespace=name, max_connections=4)
    for number in range(3):
        asyncio.run(store.put("k", number))
        assert asyncio.run(store.get("k")) == number
    for _ in range(3):
        asyncio.run(crowd(store))
        assert store.idle

    async def end() -> None:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            # The connections of the loops before are closed, except for those of the last one.
            assert len(await connections(client, name)) <= 4
            await store.destroy()
            await store.close()
            async with asyncio.timeout(30):
                while await connections(client, name):
                    await asyncio.sleep(0.01)

    asyncio.run(end())


def test_calls_in_progress_in_an_abandoned_loop_block_nothing(own_server: RedisServer) -> None:
    store = RedisStore(own_server.url, max_connections=2, timeout=10)
    abandoned = []

    async def give_up() -> None:
        await store.put("k", "first")
        own_server.freeze()
        abandoned.extend(asyncio.create_task(store.put("k", f"old {n}")) for n in range(5))
        await asyncio.sleep(0.05)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(give_up())
    loop.close()
    own_server.thaw()

    async def main() -> None:
        await store.put("k", "new")
        await asyncio.sleep(0.05)
        assert await store.get("k") == "new"
        await store.close()

    asyncio.run(main())
    assert all(not task.done() for task in abandoned)
    ABANDONED.extend(abandoned)


def test_a_client_of_another_loop_is_refused_until_it_is_closed(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    store = RedisStore(client=client, namespace=uuid.uuid4().hex)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.put("k", 1))
    with pytest.raises(StoreUnavailable, match="create another client or store here"):
        asyncio.run(store.get("k"))
    assert loop.run_until_complete(store.get("k")) == 1
    loop.run_until_complete(client.aclose())

    async def end() -> None:
        assert await store.get("k") == 1
        await store.destroy()
        await client.aclose()

    asyncio.run(end())
    loop.close()


def test_a_loop_that_still_runs_keeps_the_store(redis_url: str) -> None:
    store = RedisStore(redis_url, namespace=uuid.uuid4().hex)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(store.put("k", 1), loop).result(30)
    with pytest.raises(StoreUnavailable, match="in one event loop at a time"):
        asyncio.run(store.get("k"))
    assert asyncio.run_coroutine_threadsafe(store.get("k"), loop).result(30) == 1
    asyncio.run_coroutine_threadsafe(store.destroy(), loop).result(30)
    asyncio.run_coroutine_threadsafe(store.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


FORKING = """
import asyncio, os, sys, time
import redis.asyncio
from kvwrap import RedisStore, StoreUnavailable

async def main():
    own = sys.argv[2] == "url"
    client = None if own else redis.asyncio.Redis.from_url(sys.argv[1])
    store = RedisStore(sys.argv[1] if own else None, client=client, timeout=20)
    await asyncio.gather(*(store.put(f"parent {n}", n) for n in range(8)))
    late = asyncio.ensure_future(store.increment("n"))
    await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        code = 1
        async def in_child():
            assert await store.get("parent 1") == 1
            await asyncio.gather(*(store.put(f"child {n}", n) for n in range(8)))
            await store.close()
        try:
            asyncio.run(in_child())
            code = 0 if own else 2
        except StoreUnavailable as error:
            code = 3 if own or "in one process" not in str(error) else 0
        finally:
            os._exit(code)
    status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 0, status
    started = time.monotonic()
    assert await late == 1
    assert await asyncio.gather(*(store.get(f"parent {n}") for n in range(8))) == list(range(8))
    assert await store.get("child 7") == (7 if own else None)
    assert time.monotonic() - started < 10
    await store.close()
    if client is not None:
        await client.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["url", "client"])
def test_a_forked_child_has_its_own_connections_and_the_parent_keeps_its_own(
    own_server: RedisServer, kind: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FORKING, own_server.url, kind],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
