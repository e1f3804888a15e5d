"""Locks over a server that evicts keys when its memory is full."""

from __future__ import annotations

import pytest

from kvwrap import RedisStore, UnsupportedOperation
from kvwrap.testing.servers import RedisServer


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
async def test_a_server_that_evicts_has_no_locks(policy: str) -> None:
    arguments = ("--maxmemory", "100mb", "--maxmemory-policy", policy)
    with RedisServer(*arguments) as server:
        async with RedisStore(server.url) as store:
            if policy == "noeviction":
                async with store.lock("a") as lease:
                    assert lease.is_held
                return
            with pytest.raises(UnsupportedOperation, match=policy):
                async with store.lock("a"):
                    pass


async def test_a_policy_without_a_limit_evicts_nothing() -> None:
    with RedisServer("--maxmemory-policy", "allkeys-lru") as server:
        async with RedisStore(server.url) as store, store.lock("a") as lease:
            assert lease.is_held
