"""Backends for the tests of rewrites."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kvwrap import MemoryStore, SQLiteStore, Store
from kvwrap.stores.mapping import MappingStore
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock


@pytest.fixture(params=["memory", "mapping", "sqlite", "redis"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Callable[[], Store]]:
    """A function that returns the backend; one in memory is always the same object."""
    memory = (
        MemoryStore(clock=clock) if request.param == "memory" else MappingStore({}, clock=clock)
    )
    opened: list[Store] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    namespace = uuid.uuid4().hex

    def make() -> Store:
        if request.param in ("memory", "mapping"):
            return memory
        if request.param == "sqlite":
            store: Store = SQLiteStore(tmp_path / "store.db", clock=clock)
        else:
            store = RedisStore(url, namespace=namespace, clock=clock)
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()
    for store in opened[:1]:
        async with store:
            await store.destroy()
