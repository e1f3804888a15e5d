"""RedisStore: answers that no server of Redis gives are an outage, whatever was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from kvwrap import KvwrapError, RedisStore, Store, StoreUnavailable, UnsupportedOperation
from kvwrap.core.changes import Scope
from tests.stores.redis.scripted import ScriptedServer

STRANGE = {
    "number": b":5\r\n",
    "nothing": b"$-1\r\n",
    "text": b"$1\r\nx\r\n",
    "bytes": b"$1\r\n\xff\r\n",
    "empty list": b"*0\r\n",
    "list of a number": b"*1\r\n:1\r\n",
    "list of too many": b"*3\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n",
    "list in a list": b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n",
}
READS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get": lambda store: store.get("k", collection="c"),
    "get_many": lambda store: store.get_many(["k", "l"], collection="c"),
    "ttl": lambda store: store.ttl("k", collection="c"),
    "keys": lambda store: store.keys("c"),
    "count": lambda store: store.count(collection="c"),
}
CHANGES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "put": lambda store: store.put("k", b"1", collection="c"),
    "put_many": lambda store: store.put_many(["k", "l"], [b"1", b"2"], collection="c"),
    "put_many with a ttl": lambda store: store.put_many(["k"], [b"1"], collection="c", ttl=5),
    "put_if_absent": lambda store: store.put_if_absent("k", b"1", collection="c"),
    "increment": lambda store: store.increment("k", collection="c"),
    "expire": lambda store: store.expire("k", 5, collection="c"),
    "delete": lambda store: store.delete("k", collection="c"),
    "delete_where": lambda store: store.delete_where(collection="c", prefix="k"),
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "lock": lambda store: store.base.evicts(),  # type: ignore[attr-defined]  # of a store
    "check": lambda store: store.check(),
}


class Strange(ScriptedServer):
    """Gives answers of the test.

    Attributes:
        strange: The answer to every command about data; empty for the usual ones.
        answers: Further ones, by the first or the first two words: the next one first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.strange = b""
        self.answers: dict[bytes, list[bytes]] = {}

    def answer(self, command: list[bytes]) -> bytes:
        name = command[0].upper()
        for known in (name, b" ".join(command[:2])):
            if left := self.answers.get(known):
                return left.pop(0)
        if self.strange and name not in (b"HELLO", b"AUTH", b"SELECT", b"CLIENT"):
            return self.strange
        return super().answer(command)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("strange", STRANGE)
async def test_reads_return_nothing_of_it(strange: str, raw: bool) -> None:
    async with Strange() as server, RedisStore(server.url, raw=raw) as store:
        server.strange = STRANGE[strange]
        for name, read in READS.items():
            with pytest.raises(StoreUnavailable, match="must answer as its protocol says"):
                print(name, await read(store))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("strange", STRANGE)
async def test_changes_raise_errors_of_kvwrap_alone(strange: str, raw: bool) -> None:
    async with Strange() as server, RedisStore(server.url, raw=raw) as store:
        server.strange = STRANGE[strange]
        for change in CHANGES.values():
            with suppress(KvwrapError):
                await change(store)


async def test_a_key_that_becomes_a_string_while_it_is_read() -> None:
    async with Strange() as server, RedisStore(server.url, raw=True) as store:
        no_string, string = b"*2\r\n*1\r\n$-1\r\n:-1\r\n", b"*2\r\n*1\r\n$1\r\nx\r\n:-1\r\n"
        server.answers = {b"EXEC": [no_string, string], b"TYPE": [b"+string\r\n"]}
        assert await store.get("k", collection="c") == b"x"
        server.answers = {b"EXEC": [no_string], b"TYPE": [b":1\r\n"]}
        with pytest.raises(StoreUnavailable, match="must answer as its protocol says"):
            await store.get("k", collection="c")


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ({b"HELLO": [b"-NOPROTO no\r\n"]}, UnsupportedOperation, "does not offer HELLO 3"),
        ({b"HELLO": [b"-LOADING wait\r\n"]}, StoreUnavailable, "loading|refused the command"),
        ({}, UnsupportedOperation, "CLIENT TRACKING of a single connection"),
    ],
)
async def test_what_a_watch_is_answered(
    answers: dict[bytes, list[bytes]], error: type[KvwrapError], message: str
) -> None:
    async with Strange() as server, RedisStore(server.url) as store:
        server.answers = answers
        with pytest.raises(error, match=message):
            await store.subscribe(Scope(), print)


async def test_a_server_that_is_busy_is_told_again_to_end_what_was_given_up() -> None:
    async with Strange() as server, RedisStore(server.url) as store:
        await store.put("k", 1, ttl=50)
        server.lives_for(0)
        with pytest.raises(StoreUnavailable):
            await store.put("k", 2, ttl=50)
        server.answers = {b"CLIENT KILL": [b"-BUSY Redis is busy running a script\r\n"]}
        with pytest.raises(StoreUnavailable):
            await store.put("k", 3, ttl=50)
        assert server.killed == 0
        await store.put("k", 4, ttl=50)
        assert server.killed == 1
