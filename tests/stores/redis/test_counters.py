"""Counters of other programs, which `increment` of a raw store counts on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import chain
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from kvwrap import CorruptEntry, InvalidValue, RedisStore, StoreUnavailable, stack
from kvwrap.core.serializer import JSON, MsgpackSerializer
from kvwrap.testing import RedisServer
from tests.stores.redis.scripted import ScriptedServer


@pytest_asyncio.fixture
async def other(own_server: RedisServer) -> AsyncIterator[Any]:
    """Yield the client of another program."""
    async with redis.asyncio.Redis.from_url(own_server.url, protocol=2) as client:
        yield client


@pytest.mark.parametrize("serializer", [None, JSON])
async def test_a_counter_of_another_program(
    own_server: RedisServer, other: Any, serializer: Any
) -> None:
    async with RedisStore(own_server.url, raw=True, serializer=serializer) as store:
        await other.set("n", 41, px=100_000)
        assert await store.increment("n") == 42
        assert await other.incr("n") == 43
        assert await store.increment("n", -50) == -7
        assert 90_000 < await other.pttl("n") <= 100_000
        assert await store.increment("new", 2, initial=10, collection="c", ttl=50) == 12
        assert await other.get("c:new") == b"12"
        assert 45_000 < await other.pttl("c:new") <= 50_001
        await other.set("big", 2**53)
        assert await store.increment("big") == 2**53 + 1


async def test_programs_count_at_the_same_time_with_one_command_each(
    own_server: RedisServer, other: Any
) -> None:
    async with RedisStore(own_server.url, raw=True) as store:
        await store.increment("n")
        await other.config_resetstat()

        async def count() -> list[int]:
            return [await call() for _ in range(20) for call in (count_here, count_there)]

        count_here, count_there = partial(store.increment, "n"), partial(other.incr, "n")
        counts = await asyncio.gather(*(count() for _ in range(10)))
        assert sorted(chain.from_iterable(counts)) == list(range(2, 402))
        statistics = await other.info("commandstats")
        assert statistics["cmdstat_incrby"]["calls"] == 400  # of both
        assert statistics["cmdstat_evalsha"]["calls"] == 200  # nobody had to try again
        assert "cmdstat_mget" not in statistics


async def test_what_is_not_an_integer_of_64_bits(own_server: RedisServer, other: Any) -> None:
    async with (
        RedisStore(own_server.url, raw=True) as store,
        RedisStore(own_server.url, raw=True, serializer=JSON) as typed,
        RedisStore(own_server.url, raw=True, serializer=MsgpackSerializer()) as packed,
    ):
        await other.set("text", "abc")
        await other.hset("hash", "field", "x")
        with pytest.raises(InvalidValue, match="type bytes"):
            await store.increment("text")
        with pytest.raises(CorruptEntry, match="has put a hash there"):
            await store.increment("hash")
        with pytest.raises(InvalidValue, match="`delta` must be an int"):
            await store.increment("n", 1.5)  # type: ignore[arg-type]
        await other.set("n", 2**63 - 1)
        assert await typed.increment("n") == 2**63
        assert await typed.increment("n", 2**70) == 2**63 + 2**70
        assert await other.get("n") == str(2**63 + 2**70).encode()
        assert await packed.increment("m") == 1
        assert await other.get("m") == b"\x01"


async def test_a_counter_that_a_layer_has_changed(own_server: RedisServer) -> None:
    async with (
        stack()
        .serialize("json")
        .compress(min_size=0)
        .over(RedisStore(own_server.url, raw=True)) as layered,
        RedisStore(own_server.url, raw=True, serializer=JSON) as store,
    ):
        assert await layered.increment("n") == 1
        assert await store.increment("n") == 2


async def test_a_lost_answer_is_an_error_and_nothing_is_repeated() -> None:
    async with ScriptedServer() as server, RedisStore(server.url, raw=True) as store:
        server.script = lambda: b":1\r\n"  # no answer of this script
        with pytest.raises(StoreUnavailable, match="must answer as its protocol says"):
            await store.increment("n")
