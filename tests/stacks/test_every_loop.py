"""Every store and every layer in one event loop after another, also without being closed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from kvwrap import Capability, Store
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import LAYERS, STORES, Resources

WRITABLE = [name for name, case in LAYERS.items() if case.writable]


async def use(store: Store, number: int) -> None:
    keys = [f"key-{index}" for index in range(12)]
    await asyncio.gather(*(store.put(key, [number, key]) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == [
        [number, key] for key in keys
    ]
    await store.put_many(keys, keys, ttl=100)
    assert await store.get_many([*keys, "missing"]) == [*keys, None]
    if Capability.COMPARE_AND_PUT in store.capabilities:
        totals = await asyncio.gather(*(store.increment("n") for _ in range(5)))
        assert sorted(totals) == list(range(5 * number + 1, 5 * number + 6))
    assert await store.get_or_put(f"computed {number}", lambda: number) == number
    assert await store.delete(keys[0])
    assert await store.pop(keys[1]) == keys[1]


async def use_and_close(store: Store, number: int) -> None:
    await use(store, number)
    await store.close()


def run_in_loops(store: Store) -> None:
    asyncio.run(use(store, 0))
    asyncio.run(use(store, 1))
    asyncio.run(use_and_close(store, 2))


@pytest.mark.parametrize("name", STORES)
def test_a_store(name: str, tmp_path: Path, servers: SharedServers) -> None:
    resources = Resources(SystemClock(), tmp_path, servers.url)
    run_in_loops(STORES[name](resources))


@pytest.mark.parametrize("name", WRITABLE)
def test_a_layer(name: str, tmp_path: Path, servers: SharedServers) -> None:
    clock = SystemClock()
    resources = Resources(clock, tmp_path, servers.url)
    run_in_loops(LAYERS[name].make(clock).over(STORES["redis"](resources)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["memory", "dict", "py-key-value"])
def test_a_store_of_this_process_in_a_forked_child(name: str, tmp_path: Path) -> None:
    """The child has a copy of its own. Those of Redis and SQLite have tests of theirs."""
    store = STORES[name](Resources(SystemClock(), tmp_path, str))
    asyncio.run(store.put("k", "parent"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(store.put("k", "child"))
            code = 0 if asyncio.run(store.get("k")) == "child" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(store.get("k")) == "parent"
