"""RedisStore with a cluster: a node that gives answers which those of a real one rarely give."""

from __future__ import annotations

import pytest

from kvwrap import RedisStore, StoreTimeout
from tests.stores.redis.scripted import ScriptedServer


class Node(ScriptedServer):
    """The only node of a cluster, which has all slots or none, and does not answer reads."""

    has_slots = False

    @property
    def cluster(self) -> str:
        """The URL of the cluster."""
        return self.url.replace("redis://", "redis+cluster://")

    def answer(self, command: list[bytes]) -> bytes:
        if command[0] == b"CLUSTER":
            node = b"*4\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n*0\r\n" % self.port
            slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node
            return slots if self.has_slots else b"*0\r\n"
        return b"" if command[0] in (b"GET", b"MGET") else super().answer(command)


@pytest.mark.parametrize("timeout", [60, None])
async def test_a_cluster_without_slots_has_no_keys(timeout: float | None) -> None:
    async with Node() as node, RedisStore(node.cluster, timeout=timeout) as store:
        assert await store.keys() == []
        assert await store.count() == 0


async def test_the_timeout_of_the_driver_ends_what_waits_for_a_node() -> None:
    async with Node() as node:
        node.has_slots = True
        async with RedisStore(f"{node.cluster}?socket_timeout=0.2", timeout=None) as store:
            with pytest.raises(StoreTimeout, match="did not answer in time"):
                await store.get("a")
