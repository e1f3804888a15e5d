"""Rewriting through every layer that may be inside: what is reported as rewritten is."""

from __future__ import annotations

import pytest

from kvwrap import Keyring, MemoryStore, rewrite, stack
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS

KEYS = [f"k{number}" for number in range(5)]
CANNOT = {"read_only", "hash_keys", "default_value", "tags"}
"""Layers that refuse writes, cannot enumerate keys, or may not be inside encryption."""


@pytest.mark.parametrize("name", sorted(set(LAYERS) - CANNOT))
@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_a_second_rewrite_finds_nothing_to_do(name: str, clock: ManualClock) -> None:
    encrypt = stack().encrypt(Keyring({"k": b"k" * 32}), accept_plaintext=True)
    async with LAYERS[name].make(clock).over(MemoryStore(clock=clock)) as under:
        await under.put_many(KEYS, KEYS, ttl=60)
        async with encrypt.over(under) as store:
            report = await rewrite(store)
            assert (report.rewritten, report.failed) == (len(KEYS), 0)
            report = await rewrite(store)
            assert (report.rewritten, report.current) == (0, len(KEYS))
            assert await store.get_many(KEYS) == KEYS
