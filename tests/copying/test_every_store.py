"""`kvwrap.copy` from and to every store."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvwrap
from kvwrap import Capability, Keyring, MemoryStore, stack
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import SLOW, STORES, Resources


@pytest.mark.parametrize("name", STORES)
async def test_a_store(name: str, tmp_path: Path, servers: SharedServers) -> None:
    resources = Resources(SystemClock(), tmp_path, servers.url)
    first, last = MemoryStore(), MemoryStore()
    count, batch = (12, 5) if name in SLOW else (120, 50)
    keys = [f"key-{number}" for number in range(count)]
    await first.put_many(keys, [{"n": key, "t": [1, None, 2.5]} for key in keys])
    await first.put_many(keys, keys, collection="users", ttl=600)
    async with (
        stack().compress().encrypt(Keyring.generate()).over(STORES[name](resources)) as store
    ):
        report = await kvwrap.copy(first, store)
        assert (report.copied, report.failed) == (2 * count, 0)
        if Capability.KEYS in store.capabilities:
            names = [None, "users"]
            report = await kvwrap.copy(store, last, batch=batch, collections=names)
            assert (report.copied, report.failed) == (2 * count, 0)
            ttls = [ttl for _, ttl in await last.ttl_many(keys, collection="users")]
            assert all(ttl is not None and 500 < ttl <= 600 for ttl in ttls)
            assert await last.get_many(keys) == await first.get_many(keys)
