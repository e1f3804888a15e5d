"""Tags over real backends, each reached by two stores, as by two processes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from kvwrap import Keyring, MemoryStore, Tags, stack
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import STORES, Resources
from tests.conftest import SOAK

ENTRIES = 100_000 if SOAK else 1_000
SECRET = b"s" * 16


@pytest.mark.parametrize("kind", ["redis", "valkey", "postgresql", "sqlite"])
async def test_all_entries_of_a_tag_are_gone_for_every_store(
    kind: str, tmp_path: Path, servers: SharedServers
) -> None:
    resources = Resources(SystemClock(), tmp_path, servers.url)
    keyring = Keyring.generate("k")
    inside = stack().read_through(MemoryStore, ttl=600).hash_keys(SECRET).encrypt(keyring)
    layers = stack().tags(SECRET) + inside.silence("near-not-nearer")
    one, other = (layers.over(STORES[kind](replace(resources))) for _ in range(2))
    async with one, other:
        keys = [str(number) for number in range(ENTRIES)]
        for start in range(0, ENTRIES, 1_000):
            part = keys[start : start + 1_000]
            await one.put_many(part, part, tags=["all", part[0]])
        await one.put("kept", 1, tags=["other"])
        assert await other.get_many([*keys[:10], "kept"]) == [*keys[:10], 1]
        await one.find(Tags).invalidate("all")
        assert await one.get_many([*keys[:10], "kept"]) == [*[None] * 10, 1]
        while await other.get(keys[0]) is not None:
            await asyncio.sleep(0.01)
        assert await other.get_many([*keys, "kept"]) == [*[None] * ENTRIES, 1]
        await other.put(keys[0], "new", tags=["all"])
        assert await one.get(keys[0]) == "new"
