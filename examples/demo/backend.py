"""The backend under the stack: a Redis, or a SQLite file; all can be stopped."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import redis.asyncio

from kvwrap import RedisStore, SQLiteStore, Store, StoreUnavailable
from kvwrap.layers.base.around import Around, Call, T
from kvwrap.testing.servers import RedisServer, find_server

NAMESPACE = "kvwrap-demo"


class Backend(Protocol):
    """Where the entries are, for the demo to stop and start."""

    name: str
    store: Store

    def stop(self) -> None:
        """Make every call to it fail."""

    def start(self) -> None:
        """Let it answer again, with all that it held."""

    def close(self) -> None:
        """Let go of what it took."""

    async def at_rest(self) -> int:
        """The bytes that its entries take up."""


class Switch(Around):
    """Fails every call while it is off: a stopped backend, for one that has no server."""

    def __init__(self) -> None:
        self.on = True

    async def around(self, call: Call[T]) -> T:
        if not self.on:
            raise StoreUnavailable("the backend is stopped", store=self.name)
        return await call()


class OwnRedis:
    """A Redis server on a free loopback port, which keeps what it acknowledged."""

    def __init__(self) -> None:
        self.server = RedisServer("--appendonly", "yes", "--appendfsync", "always").start()
        self.name = f"Redis at {self.server.url}"
        self.store: Store = RedisStore(self.server.url, namespace=NAMESPACE, timeout=1.0)

    def stop(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def close(self) -> None:
        self.server.stop()

    async def at_rest(self) -> int:
        return await unwrap(self.server.url)


class ReachedRedis:
    """A Redis that was there before, behind a switch; what the demo puts there goes at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"Redis at {url}"
        self.store = Switch().over(RedisStore(url, namespace=NAMESPACE, timeout=1.0))
        self._switch = self.store.find(Switch)

    def stop(self) -> None:
        self._switch.on = False

    def start(self) -> None:
        self._switch.on = True

    def close(self) -> None:
        asyncio.run(self._clean())

    async def _clean(self) -> None:
        async with RedisStore(self.url, namespace=NAMESPACE) as store:
            await store.destroy()

    async def at_rest(self) -> int:
        return await unwrap(self.url)


async def unwrap(url: str) -> int:
    """The bytes of all the demo's entries in a Redis."""
    async with redis.asyncio.Redis.from_url(url) as client:
        names = [name async for name in client.scan_iter(match=f"{NAMESPACE}:*", count=1000)]
        async with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.strlen(name)
            return sum(await pipe.execute())


class SQLiteBackend:
    """A SQLite file behind a switch."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "backend.db"
        self.name = f"SQLite in {self.path.name}"
        self.store = Switch().over(SQLiteStore(self.path))
        self._switch = self.store.find(Switch)

    def stop(self) -> None:
        self._switch.on = False

    def start(self) -> None:
        self._switch.on = True

    def close(self) -> None:
        """The store closes its file itself."""

    async def at_rest(self) -> int:
        return self.path.stat().st_size


def choose(kind: str | None, folder: Path) -> Backend:
    """The backend asked for; if none was, a Redis if one can be started or reached, else SQLite."""
    if kind == "own-redis" or (kind is None and find_server("redis-server")):
        return OwnRedis()
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    if kind == "redis" or (kind is None and answers(url)):
        return ReachedRedis(url)
    return SQLiteBackend(folder)


def answers(url: str) -> bool:
    """Whether there is a Redis at this URL."""

    async def ask() -> None:
        async with RedisStore(url, timeout=1.0) as store:
            await store.check()

    try:
        asyncio.run(ask())
    except StoreUnavailable:
        return False
    return True
