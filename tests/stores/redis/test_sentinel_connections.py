"""The connections of a store with Sentinel, over servers that give the answers a test wants."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from kvwrap import RedisStore, StoreUnavailable
from kvwrap.testing import RedisServer
from tests.stores.redis.scripted import ScriptedServer
from tests.stores.told import Told


class Speaker(ScriptedServer):
    """A Sentinel that names a master, and a master whose reads wait.

    Attributes:
        master: What it names as a Sentinel.
        asked: Set when a read has come.
        may_answer: Reads are answered once it is set.
        left: Set when a connection, of which a read came, has been closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.master: Speaker | RedisServer = self
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        was_read = False
        while line := await reader.readline():
            command = []
            for _ in range(int(line[1:])):
                size = int((await reader.readline())[1:])
                command.append((await reader.readexactly(size + 2))[:-2])
            if command[0] == b"SENTINEL":
                port = b"%d" % self.master.port
                writer.write(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port))
            elif command[0] in (b"GET", b"MGET"):
                was_read = True
                self.asked.set()
                await self.may_answer.wait()
                writer.write(b"*1\r\n$-1\r\n" if command[0] == b"MGET" else b"$-1\r\n")
            else:
                writer.write(self.answer(command))
        writer.close()
        if was_read:
            self.left.set()


async def test_a_connection_to_an_earlier_master_is_closed_after_its_round_trip() -> None:
    async with Speaker() as sentinel, Speaker() as earlier, Speaker() as later:
        sentinel.master = earlier
        later.may_answer.set()
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        async with RedisStore(url, timeout=60) as store:
            waiting = asyncio.create_task(store.get("a"))
            await earlier.asked.wait()
            sentinel.master = later
            assert await store.get("b") is None  # over a new connection
            assert later.asked.is_set()
            assert not waiting.done()
            earlier.may_answer.set()
            assert await waiting is None
            async with asyncio.timeout(60):
                await earlier.left.wait()
            later.asked.clear()
            assert await store.get("c") is None
            assert later.asked.is_set()
            assert not later.left.is_set()


@pytest.mark.parametrize("address", [(b"127.0.0.1", b"x"), (b"127.0.0.1",), (b"a", b"1", b"2")])
async def test_what_is_no_address_of_a_master_is_no_master(address: tuple[bytes, ...]) -> None:
    class Confused(ScriptedServer):
        def answer(self, command: list[bytes]) -> bytes:
            if command[0] == b"SENTINEL":
                parts = (b"$%d\r\n%s\r\n" % (len(part), part) for part in address)
                return b"*%d\r\n" % len(address) + b"".join(parts)
            return super().answer(command)

    async with Confused() as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        async with RedisStore(url, timeout=60) as store:
            with pytest.raises(StoreUnavailable, match="do not know the service 'main'"):
                await store.get("a")


async def test_a_watch_follows_sentinels_to_another_master(own_server: RedisServer) -> None:
    with RedisServer() as later:
        async with Speaker() as sentinel:
            sentinel.master = own_server
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
            async with RedisStore(url, timeout=60) as store, Told(store) as told:
                await told.hears((None, "a"), partial(own_server.run, "SET kvwrap::a 1"))
                losses = told.losses
                sentinel.master = later  # the earlier one still says that it is a master
                await told.until(lambda: told.losses > losses)
                await told.hears((None, "b"), partial(later.run, "SET kvwrap::b 1"))
