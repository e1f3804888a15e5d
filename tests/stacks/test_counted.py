"""What each layer counts is what has happened, in the figures that everything reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import (
    Chaos,
    Encryption,
    Keyring,
    LockTimeout,
    MemoryStore,
    Passthrough,
    RateLimited,
    SQLiteStore,
    Store,
    StoreTimeout,
    StoreUnavailable,
    WriteBehind,
    stack,
)
from kvwrap.core.exported import Exported
from kvwrap.core.figures import collect


def figures(store: Store, layer: str) -> dict[Any, Any]:
    """Return the values by name, with the labels behind it if there are any."""
    return {
        (each.figure.name, *each.labels) if each.labels else each.figure.name: each.value
        for each in collect(store)
        if each.layer == layer
    }


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


class Gate(Passthrough):
    """Holds reads back until it is opened."""

    def on_bind(self) -> None:
        self.opened = asyncio.Event()

    async def read(self, collection, keys):
        await self.opened.wait()
        return await self.inner.read(collection, keys)


async def test_retry_counts_attempts_and_calls_given_up(clock):
    store = stack().retry(3, wait=0).chaos().over(MemoryStore(clock=clock))
    await store.get("a")
    assert figures(store, "Retry") == {"retry.attempts": 0, "retry.given_up": 0}
    store.find(Chaos).down = True
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert figures(store, "Retry") == {"retry.attempts": 2, "retry.given_up": 1}


async def test_timeout_counts_what_it_cancelled():
    store = stack().timeout(0.001).layer(Gate()).over(MemoryStore())
    with pytest.raises(StoreTimeout):
        await store.get("a")
    assert figures(store, "Timeout") == {"timeouts": 1}


async def test_limits_count_waits_and_rejections(clock):
    store = stack().limit_concurrency(1, wait=60).layer(Gate()).over(MemoryStore(clock=clock))
    reads = [asyncio.create_task(store.get("a")) for _ in range(3)]
    await until(lambda: figures(store, "ConcurrencyLimit")["limit.waiting"] == 2)
    assert figures(store, "ConcurrencyLimit") == {
        "limit.running": 1,
        "limit.waiting": 2,
        "limit.waits": 2,
        "limit.rejected": 0,
    }
    store.find(Gate).opened.set()
    await asyncio.gather(*reads)
    assert figures(store, "ConcurrencyLimit")["limit.waiting"] == 0

    refusing = stack().limit_rate(1, burst=1, wait=0).over(MemoryStore(clock=clock))
    await refusing.get("a")
    with pytest.raises(RateLimited):
        await refusing.get("a")
    assert figures(refusing, "RateLimit")["limit.rejected"] == 1


async def test_transforms_count_bytes_before_and_after(clock):
    keys = Keyring({"counted": b"c" * 32})
    store = stack().compress(min_size=0).encrypt(keys).over(MemoryStore(clock=clock))
    before = figures(store, "Encryption").get(("encryption.messages", "counted"), 0)
    await store.put("a", "x" * 1000)
    await store.put_many(["b", "c"], ["x" * 1000] * 2)
    compression, encryption = figures(store, "Compression"), figures(store, "Encryption")
    assert compression["transform.input"] == 3 * 1002
    assert 0 < compression["transform.output"] < 300
    assert encryption["transform.input"] == compression["transform.output"]
    assert encryption["transform.output"] > encryption["transform.input"]
    assert encryption["encryption.messages", "counted"] == before + 3
    assert encryption["encryption.message_limit"] == 2**32


async def test_messages_of_one_key_are_not_counted_twice(clock):
    keys = Keyring({"shared": b"s" * 32})
    exported = Exported()
    stores = [stack().encrypt(keys).over(MemoryStore(clock=clock)) for _ in range(2)]
    for store in stores:
        exported.add(store)
        await store.put("a", 1)
    (messages,) = [
        each.value for each in exported.samples() if each.figure.name == "encryption.messages"
    ]
    assert stores[0].find(Encryption).messages == {"shared": messages}


async def test_memory_counts_entries_bytes_and_evictions(clock):
    store = MemoryStore(max_bytes=100, clock=clock)
    await store.put_many([str(number) for number in range(10)], ["x" * 17] * 10)
    assert figures(store, "MemoryStore") == {
        "entries": 5,
        "held": store.size,
        "held.limit": 100,
        "evictions": 5,
    }
    limited = MemoryStore(max_entries_per_collection=2, clock=clock)
    for collection in ("a", "b"):
        await limited.put_many(["1", "2", "3"], [1, 2, 3], collection=collection, ttl=1)
    assert figures(limited, "MemoryStore") == {"entries": 4, "evictions": 2}
    clock.advance(2)
    await limited.cull()
    assert figures(limited, "MemoryStore") == {"entries": 0, "evictions": 2}


async def test_a_journal_tells_its_depth_and_age(tmp_path, clock):
    path = tmp_path / "journal"
    store = stack().write_behind(path).chaos().over(MemoryStore(clock=clock))
    async with store:
        assert figures(store, "WriteBehind")["journal.age"] == 0
        store.find(Chaos).down = True
        await store.delete("gone")
        clock.advance(10)
        await store.put("a", 1)
        clock.advance(5)
        found = figures(store, "WriteBehind")
        assert found["journal.pending"] == 2
        assert found["journal.age"] == 15
        await until(lambda: store.find(WriteBehind).snapshot().failures > 0)
        assert figures(store, "WriteBehind")["journal.failures"] > 0
    again = stack().write_behind(path).over(MemoryStore(clock=clock))
    async with again:
        await again.find(WriteBehind).flush()
        found = figures(again, "WriteBehind")
        assert (found["journal.pending"], found["journal.sent"]) == (0, 2)
        assert found["journal.age"] == 0


async def test_a_loaded_journal_counts_age_from_the_entries(tmp_path, clock):
    path = tmp_path / "journal"
    async with stack().write_behind(path).chaos().over(MemoryStore(clock=clock)) as store:
        store.find(Chaos).down = True
        await store.put("a", 1)
    clock.advance(100)
    async with (
        stack().write_behind(path).chaos(failure_rate=1.0).over(MemoryStore(clock=clock)) as store
    ):
        assert figures(store, "WriteBehind")["journal.age"] == 100


async def test_a_fallback_tells_its_breaker_and_its_journal(tmp_path, clock):
    store = (
        stack()
        .fallback(
            lambda: MemoryStore(clock=clock),
            writes="journal",
            journal=tmp_path / "journal",
            failures=1,
        )
        .chaos()
        .over(MemoryStore(clock=clock))
    )
    async with store:
        store.find(Chaos).down = True
        await store.get("a")
        await store.put("a", 1)
        found = figures(store, "Fallback")
        assert found["breaker.state", "open"] == 1
        assert found["breaker.opened"] == 1
        assert found["fallback.reads"] >= 1
        assert found["journal.pending"] == 1
        store.find(Chaos).down = False


async def test_read_through_tells_what_ended_its_copies(clock):
    far = MemoryStore(clock=clock)
    store = stack().read_through(lambda: MemoryStore(clock=clock)).over(far)
    await store.put("a", 1)
    await store.get("a")
    await far.put("a", 2)
    await until(lambda: figures(store, "ReadThrough")["near.invalidations", "told"] == 1)
    found = figures(store, "ReadThrough")
    assert found["near.invalidations", "own"] == 1
    assert found["near.invalidations", "lost"] == 0
    assert found["coherence.watching"] == 1
    assert found["coherence.lag"] == 0
    by_ttl = stack().read_through(MemoryStore, ttl=1, coherence="ttl").over(MemoryStore())
    await by_ttl.get("a")
    assert figures(by_ttl, "ReadThrough")["coherence.watching"] == 0
    assert "coherence.lag" not in figures(by_ttl, "ReadThrough")


async def test_locks_count_waits_timeouts_and_losses(tmp_path):
    async with SQLiteStore(tmp_path / "locks.db") as store:
        async with store.lock("a"):
            assert store.locks.held == 1
            waiting = asyncio.create_task(enter(store, wait=None))
            await until(lambda: store.locks.waiting == 1)
            with pytest.raises(LockTimeout):
                await asyncio.create_task(enter(store, wait=0))
        await waiting
        found = figures(store, "Store")
        assert found["lock.acquired"] == 2
        assert found["lock.held"] == found["lock.waiting"] == found["lock.lost"] == 0
        assert found["lock.timeouts"] == 1
        assert found["lock.wait"] > 0


async def enter(store: Store, wait: float | None) -> None:
    async with store.lock("a", wait=wait):
        pass


async def test_computed_values_are_the_store_objects_own(clock):
    store = stack().statistics().over(MemoryStore(clock=clock))
    assert await store.get_or_put("a", lambda: 1) == 1
    assert figures(store, "Store")["computed.values"] == 1
    assert "computed.values" not in figures(store, "MemoryStore")
