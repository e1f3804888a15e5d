"""Backends for the demonstration, which it can stop and start: a Redis, or a SQLite file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol, TypeVar

import redis.asyncio

from examples.demo.bare import Bare, BareRedis, BareSQLite
from kvwrap import RedisStore, SQLiteStore, Store, StoreUnavailable
from kvwrap.layers.base import Around, Call
from kvwrap.testing.servers import RedisServer, find_server

T = TypeVar("T")

NAMESPACE = "kvwrap-demo"


class Backend(Protocol):
    """A store of entries that the demonstration can stop and start."""

    name: str
    store: Store

    def stop(self) -> None:
        """Make every call fail."""

    def start(self) -> None:
        """Answer calls again, with the same data."""

    def close(self) -> None:
        """Release its resources."""

    async def stored_bytes(self) -> int:
        """Return the bytes that its entries occupy."""

    def bare(self) -> Bare:
        """Return the same backend without kvwrap, for records of its own."""


class Switch(Around):
    """Fails every call while it is off: simulates a stopped backend without a server to stop."""

    def __init__(self) -> None:
        self.on = True

    async def around(self, call: Call[T]) -> T:
        if not self.on:
            raise StoreUnavailable("the backend is stopped", store=self.name)
        return await call()


class OwnRedis:
    """A Redis server on a free loopback port, which persists every write before it answers."""

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

    async def stored_bytes(self) -> int:
        return await entry_bytes(self.server.url)

    def bare(self) -> Bare:
        return BareRedis(self.server.url)


class ExistingRedis:
    """A Redis that already runs, behind a switch. `close` deletes the demonstration's entries."""

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
        asyncio.run(self._delete_entries())

    async def _delete_entries(self) -> None:
        async with RedisStore(self.url, namespace=NAMESPACE) as store:
            await store.destroy()

    async def stored_bytes(self) -> int:
        return await entry_bytes(self.url)

    def bare(self) -> Bare:
        return BareRedis(self.url, lambda: self._switch.on)


async def entry_bytes(url: str) -> int:
    """Return the total size in bytes of the demonstration's entries in a Redis."""
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
        """Do nothing: the store closes its file."""

    async def stored_bytes(self) -> int:
        return self.path.stat().st_size

    def bare(self) -> Bare:
        return BareSQLite(self.path.with_name("bare.db"), lambda: self._switch.on)


def choose(kind: str | None, folder: Path) -> Backend:
    """Create the backend of this kind; by default a Redis if one is available, otherwise SQLite."""
    if kind == "own-redis" or (kind is None and find_server("redis-server")):
        return OwnRedis()
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    if kind == "redis" or (kind is None and answers(url)):
        return ExistingRedis(url)
    return SQLiteBackend(folder)


def answers(url: str) -> bool:
    """Ask the Redis at this URL. Returns False if it does not answer."""

    async def check() -> None:
        async with RedisStore(url, timeout=1.0) as store:
            await store.check()

    try:
        asyncio.run(check())
    except StoreUnavailable:
        return False
    return True
