"""Where locks work, and what is told about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    SQLiteStore,
    StackWarning,
    UnsupportedOperation,
    stack,
)


async def test_a_store_of_one_process_says_where_locks_work() -> None:
    with pytest.raises(UnsupportedOperation, match=r"asyncio\.Lock.*RedisStore") as raised:
        MemoryStore().lock("a")
    assert raised.value.store == "MemoryStore"


async def test_a_store_that_evicts_is_refused(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "a.db", max_entries=100) as store:
        with pytest.raises(UnsupportedOperation, match="max_entries"):
            async with store.lock("a"):
                pass
    shards = stack().shard({"b": SQLiteStore(tmp_path / "b.db", max_entries=100)}, name="a")
    async with shards.over(SQLiteStore(tmp_path / "c.db")) as store:
        with pytest.raises(UnsupportedOperation, match="max_entries"):
            async with store.lock("a"):
                pass


async def test_a_near_store_may_evict(tmp_path: Path) -> None:
    cached = stack().read_through(MemoryStore(max_entries=10), ttl=60)
    async with cached.over(SQLiteStore(tmp_path / "a.db")) as store, store.lock("a"):
        pass


async def test_a_clamp_below_the_ttl_is_refused(tmp_path: Path) -> None:
    store = stack().clamp_ttl(maximum=10, jitter=0.5).over(SQLiteStore(tmp_path / "a.db"))
    with pytest.raises(ConfigurationError, match="maximum of 5"):
        store.lock("a", ttl=5)
    async with store, store.lock("a", ttl=4):
        pass


async def test_a_clamp_in_a_route_counts_too(tmp_path: Path) -> None:
    clamped = stack().clamp_ttl(maximum=1).over(SQLiteStore(tmp_path / "b.db"))
    store = stack().route({"kvwrap.*": clamped}).over(SQLiteStore(tmp_path / "a.db"))
    with pytest.raises(ConfigurationError, match="maximum of 1"):
        store.lock("a", ttl=5)


async def test_a_fallback_is_told_once(tmp_path: Path) -> None:
    layers = stack().fallback(MemoryStore)
    async with layers.over(SQLiteStore(tmp_path / "a.db")) as store:
        with pytest.warns(StackWarning, match="lock-over-fallback") as told:
            async with store.lock("a"), store.lock("b"):
                pass
        assert len(told) == 1
        assert [finding.code for finding in store.findings] == ["lock-over-fallback"]
    layers = stack().fallback(MemoryStore).silence("lock-over-fallback")
    async with layers.over(SQLiteStore(tmp_path / "b.db")) as store, store.lock("a"):
        pass
