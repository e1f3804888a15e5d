"""RedisStore with a cluster: a node that gives answers which those of a real one rarely give."""

from __future__ import annotations

import asyncio

import pytest
import redis.exceptions

from kvwrap import RedisStore, StoreTimeout, StoreUnavailable
from kvwrap.core.changes import Scope
from tests.stores.redis.scripted import ScriptedServer


class Node(ScriptedServer):
    """The only node of a cluster, which has all slots or none, and does not answer reads.

    Attributes:
        has_slots: True if it has all slots.
        strange: Its answer about the cluster instead, if it is not empty.
        asked: Set when a read has come.
    """

    has_slots = False
    strange = b""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    @property
    def cluster(self) -> str:
        """The URL of the cluster."""
        return self.url.replace("redis://", "redis+cluster://")

    def answer(self, command: list[bytes]) -> bytes:
        if command[0] == b"CLUSTER":
            node = b"*4\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n*0\r\n" % self.port
            if self.strange:
                return self.strange
            slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node
            return slots if self.has_slots else b"*0\r\n"
        if command[0] in (b"GET", b"MGET"):
            self.asked.set()
            return b""
        return super().answer(command)


@pytest.mark.parametrize("timeout", [60, None])
async def test_a_cluster_without_slots_has_no_keys(timeout: float | None) -> None:
    async with Node() as node, RedisStore(node.cluster, timeout=timeout) as store:
        assert await store.keys() == []
        assert await store.count() == 0


async def test_a_key_of_a_slot_that_no_node_has() -> None:
    async with Node() as node, RedisStore(node.cluster, timeout=60) as store:
        for call in (store.get("k"), store.put("k", 1), store.put_many(["k"], [1], ttl=5)):
            with pytest.raises(StoreUnavailable, match="no node of the cluster of Redis has"):
                await call
        node.has_slots = True
        await store.put("k", 1)  # the cluster is asked for again


@pytest.mark.parametrize(
    "strange", [b":1\r\n", b"*1\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:20000\r\n*0\r\n"]
)
async def test_what_is_no_description_of_a_cluster(strange: bytes) -> None:
    async with Node() as node, RedisStore(node.cluster, timeout=60) as store:
        node.strange = strange
        for call in (store.get("k"), store.keys(), store.check()):
            with pytest.raises(StoreUnavailable, match="must answer as its protocol says"):
                await call


async def test_a_cluster_is_idle_while_no_node_is_asked() -> None:
    async with Node() as node, RedisStore(node.cluster, timeout=60) as store:
        assert store.idle
        node.has_slots = True
        reading = asyncio.create_task(store.get("k"))
        await node.asked.wait()
        assert not store.idle
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert store.idle


async def test_a_watch_of_a_cluster_of_which_no_node_answers() -> None:
    tasks = asyncio.all_tasks()
    async with RedisStore("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=60) as store:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2") as caught:
            await store.subscribe(Scope(), print)
        assert isinstance(caught.value.__cause__, redis.exceptions.ConnectionError)
    assert asyncio.all_tasks() <= tasks


async def test_the_timeout_of_the_driver_ends_what_waits_for_a_node() -> None:
    async with Node() as node:
        node.has_slots = True
        async with RedisStore(f"{node.cluster}?socket_timeout=0.2", timeout=None) as store:
            with pytest.raises(StoreTimeout, match="did not answer in time"):
                await store.get("a")
