"""RedisStore: answers that are in the protocol, and not of the kind that their command has."""

from __future__ import annotations

import pytest

from kvwrap import RedisStore, StoreUnavailable, ValueTooLarge
from kvwrap.stores.redis.topology import SLOTS, Topology
from kvwrap.stores.shared.urls import Address
from tests.stores.redis.scripted import ScriptedServer


class Wrong(ScriptedServer):
    """Gives one answer to the commands of one name."""

    def __init__(self, name: bytes, answer: bytes) -> None:
        super().__init__()
        self._name, self._answer = name, answer

    def answer(self, command: list[bytes]) -> bytes:
        return self._answer if command[0] == self._name else super().answer(command)


@pytest.mark.parametrize("sum_", [b"+OK", b"$2\r\n1x", b"$0\r\n", b"+" + b"9" * 5_000, b"*1\r\n:1"])
async def test_a_sum_that_is_no_integer(sum_: bytes) -> None:
    async with (
        Wrong(b"EVALSHA", sum_ + b"\r\n") as server,
        RedisStore(server.url, raw=True) as store,
    ):
        with pytest.raises(StoreUnavailable, match="must answer as its protocol says"):
            await store.increment("k")


@pytest.mark.parametrize("limit", [b"9" * 5_000, b"-1", b"1.5", b""])
async def test_a_limit_that_is_no_integer_is_not_believed(limit: bytes) -> None:
    answer = b"*2\r\n$18\r\nproto-max-bulk-len\r\n$%d\r\n%s\r\n" % (len(limit), limit)
    async with Wrong(b"CONFIG", answer) as server, RedisStore(server.url) as store:
        try:
            await store.put("k", "x" * 2_000_000)
        except ValueTooLarge:
            pytest.fail("the limit that is usual is 512 MB")


@pytest.mark.parametrize("host", [b"127.0.0.1", b"\xff", b""])
@pytest.mark.parametrize("port", [b"0", b"65536", b"-1", b"9" * 5_000, b"", b"7x"])
async def test_a_sentinel_that_names_no_address(host: bytes, port: bytes) -> None:
    answer = b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(host), host, len(port), port)
    async with Wrong(b"SENTINEL", answer) as server:
        url = server.url.replace("redis://", "redis+sentinel://").replace("/0", "/service/0")
        async with RedisStore(url, timeout=5) as store:
            with pytest.raises(StoreUnavailable):
                await store.get("k")


@pytest.mark.parametrize("first", [0, -1, SLOTS])
@pytest.mark.parametrize("last", [SLOTS, 10**15, -1])
def test_slots_that_no_cluster_has_change_nothing(first: int, last: int) -> None:
    """A range of them would take any amount of memory."""
    asked = Address("127.0.0.1", 7000)
    topology = Topology([asked])
    assert not topology.update([[first, last, [b"127.0.0.1", 7001, b"id"]]], asked)
    assert topology.masters == []


@pytest.mark.parametrize("port", [0, -1, 65_536])
async def test_a_node_that_names_no_port(port: int) -> None:
    slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n"
    async with Wrong(b"CLUSTER", slots % port) as server:
        url = server.url.replace("redis://", "redis+cluster://").replace("/0", "")
        async with RedisStore(url, timeout=5) as store:
            with pytest.raises(StoreUnavailable):
                await store.get("k")


@pytest.mark.parametrize("to", ["127.0.0.1:0", "127.0.0.1:65536", ":-1", "nowhere", "127.0.0.1:x"])
@pytest.mark.parametrize("kind", ["MOVED", "ASK"])
async def test_a_node_that_sends_to_no_address(kind: str, to: str) -> None:
    class Node(Wrong):
        def answer(self, command: list[bytes]) -> bytes:
            if command[0] == b"CLUSTER":
                node = b"*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % self.port
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node
            return super().answer(command)

    async with Node(b"MGET", f"-{kind} 7629 {to}\r\n".encode()) as node:
        url = node.url.replace("redis://", "redis+cluster://").replace("/0", "")
        async with RedisStore(url, timeout=5) as store:
            with pytest.raises(StoreUnavailable):
                await store.get("k")
