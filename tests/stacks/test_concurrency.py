"""Many tasks, faults and cancellations at once: the guarantees that whole stacks keep.

Each key has one writer. So the allowed results of a read follow from its start: the state
after the last change acknowledged before it, or of any change requested since. Counters and
lists have many writers: an acknowledged change is in them once, a failed one at most once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from kvwrap import KvwrapError, MemoryStore, SQLiteStore, Stack, StackWarning, Store, stack
from kvwrap.layers.statistics import Statistics

SOAK = bool(os.environ.get("KVWRAP_SOAK"))
SEEDS = range(150 if SOAK else 3)
KEYS = ["a", "b", "c"]
TASKS = 40 if SOAK else 20


def _faults(seed: int) -> Stack:
    return stack().chaos(
        seed,
        failure_rate=0.1,
        lost_rate=0.1,
        partial_rate=0.1,
        delay=(0.0, 0.002),
        reply_delay=(0.0, 0.002),
    )


ORDERS: dict[str, Callable[[int], Stack]] = {
    "bare": _faults,
    "sensible": lambda seed: (
        stack().read_through(MemoryStore, ttl=60).coalesce().retry(4, wait=0.001).timeout(0.01)
        + _faults(seed)
    ),
    "stale": lambda seed: (
        stack().read_through(MemoryStore, ttl=60, negative_ttl=60, refresh_ahead=0.0001)
        + _faults(seed)
    ),
    "near that fails": lambda seed: (
        stack().read_through(lambda: _faults(seed + 1).over(MemoryStore()), ttl=60).retry(wait=0)
        + _faults(seed)
    ),
    "retry outside": lambda seed: (
        stack().retry(4, wait=0.001).timeout(0.02).read_through(MemoryStore, ttl=60).coalesce()
        + _faults(seed)
    ),
    "coalesce outside": lambda seed: (
        stack().coalesce().read_through(MemoryStore, ttl=60).limit_concurrency(3).retry(wait=0)
        + _faults(seed)
    ),
    "breaker": lambda seed: (
        stack().coalesce().retry(3, wait=0).circuit_breaker(3, open_for=0.005) + _faults(seed)
    ),
    "replicas": lambda seed: (
        stack()
        .read_through(MemoryStore, ttl=60)
        .retry(wait=0)
        .replicate([lambda: _faults(seed + 1).over(MemoryStore())], read_quorum=2, failures=10**6)
        + _faults(seed)
    ),
    "shards": lambda seed: (
        stack()
        .coalesce()
        .retry(wait=0)
        .shard({"b": lambda: _faults(seed + 1).over(MemoryStore())}, name="a")
        + _faults(seed)
    ),
}


class World:
    """The store, its users, and the results that each of them got."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.rng = random.Random(seed)
        self.states: dict[str, list[int | None]] = {key: [None] for key in KEYS}
        self.acknowledged = dict.fromkeys(KEYS, 0)
        self.totals: list[int] = []
        self.unclear = 0
        self.added: list[int] = []
        self.perhaps: list[int] = []

    async def attempt(self, call: Coroutine[Any, Any, Any]) -> tuple[bool, Any]:
        """Return True if the call certainly succeeded, and its result; some are cancelled."""
        task = asyncio.ensure_future(call)
        if self.rng.random() < 0.2:
            await asyncio.sleep(self.rng.random() * 0.004)
            task.cancel()
        try:
            return True, await task
        except (KvwrapError, asyncio.CancelledError):
            return False, None

    async def writer(self, key: str) -> None:
        states = self.states[key]
        for number in range(1, TASKS):
            states.append(None if number % 5 == 0 else number)
            if number % 5 == 0:
                done, _ = await self.attempt(self.store.delete(key))
            elif number % 7 == 0:
                done, _ = await self.attempt(self.store.put_many([key, "other"], [number, 0]))
            else:
                done, _ = await self.attempt(self.store.put(key, number))
            if done:
                self.acknowledged[key] = number

    async def reader(self, key: str) -> None:
        for _ in range(TASKS):
            since = self.acknowledged[key]
            if self.rng.random() < 0.3:
                done, found = await self.attempt(self.store.get_many([key, "other"]))
                found = found and found[0]
            else:
                done, found = await self.attempt(self.store.get(key))
            if done:
                allowed = self.states[key][since:]
                assert found in allowed, f"{key}: {found} is not one of {allowed}"

    async def counter(self) -> None:
        for _ in range(TASKS // 4):
            done, total = await self.attempt(self.store.increment("count"))
            if done:
                self.totals.append(total)
            else:
                self.unclear += 1

    async def adder(self, first: int) -> None:
        for number in range(first, first + TASKS // 8):
            done, found = await self.attempt(self.store.get_versioned("list"))
            if not done:
                continue
            if found is None:
                change = self.store.put_if_absent("list", [number])
            else:
                change = self.store.compare_and_put("list", [*found.value, number], found.version)
            done, put = await self.attempt(change)
            if not done:
                self.perhaps.append(number)
            elif put:
                self.added.append(number)

    async def check(self) -> None:
        for key in KEYS:
            allowed = self.states[key][self.acknowledged[key] :]
            assert await self.last(key) in allowed
        assert len(set(self.totals)) == len(self.totals)
        count = await self.last("count") or 0
        assert max(self.totals, default=0) <= count
        assert len(self.totals) <= count <= len(self.totals) + self.unclear
        numbers = await self.last("list") or []
        assert len(set(numbers)) == len(numbers)
        assert set(self.added) <= set(numbers) <= {*self.added, *self.perhaps}

    async def last(self, key: str) -> Any:
        for _ in range(200):
            try:
                return await self.store.get(key)
            except KvwrapError:
                await asyncio.sleep(0.001)
        raise AssertionError("the store does not answer")


async def play(store: Store, seed: int) -> None:
    loop, errors = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    before = asyncio.all_tasks()
    async with asyncio.timeout(60), store:
        world = World(store, seed)
        async with asyncio.TaskGroup() as group:
            for key in KEYS:
                group.create_task(world.writer(key))
                group.create_task(world.reader(key))
                group.create_task(world.reader(key))
            for place in range(4):
                group.create_task(world.counter())
                group.create_task(world.adder(1000 * place))
        await world.check()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert store.idle
    gc.collect()
    assert errors == []


def over(layers: Stack, base: Store) -> Store:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)
        return layers.over(base)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ORDERS)
async def test_no_stale_read_and_no_lost_or_double_count(order: str, seed: int) -> None:
    await play(over(ORDERS[order](10 * seed), MemoryStore()), seed)


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("order", ["bare", "sensible", "stale", "coalesce outside"])
async def test_the_same_with_a_backend_that_continues_after_a_cancellation(
    order: str, seed: int, tmp_path: Path
) -> None:
    await play(over(ORDERS[order](10 * seed), SQLiteStore(tmp_path / "entries.db")), seed)


async def test_names_that_occur_once_cost_no_memory() -> None:
    layers = stack().statistics().read_through(lambda: MemoryStore(max_entries=100), ttl=60)
    base = MemoryStore()
    store = over(layers.coalesce().hash_keys(b"s" * 32, collections=True), base)
    async with store:
        for number in range(2_000):
            name = f"collection-{number}"
            await store.put("key", number, collection=name)
            assert await store.increment("count", collection=name) == 1
            await asyncio.gather(store.get("key", collection=name), store.get("key"))
            assert await store.destroy_collection(name)
        assert store.idle
        assert len(base) == 0
        assert len(store.find(Statistics).snapshot().collections) <= 101
