"""The backend under the stack: a Redis of the demo's own, or a SQLite file; both can be stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kvwrap import RedisStore, SQLiteStore, Store, StoreUnavailable
from kvwrap.kinds.around import Around, Call, T
from kvwrap.testing.servers import RedisServer, find_server


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


class RedisBackend:
    """A Redis server on a free loopback port, which keeps what it acknowledged."""

    def __init__(self) -> None:
        self.server = RedisServer("--appendonly", "yes", "--appendfsync", "always").start()
        self.name = f"Redis at {self.server.url}"
        self.store: Store = RedisStore(self.server.url, timeout=1.0)

    def stop(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def close(self) -> None:
        self.server.stop()

    async def at_rest(self) -> int:
        import redis.asyncio

        async with redis.asyncio.Redis.from_url(self.server.url) as client:
            names = [name async for name in client.scan_iter(count=1000)]
            async with client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.strlen(name)
                return sum(await pipe.execute())


class Switch(Around):
    """Fails every call while it is off: a stopped backend, for one that has no server."""

    def __init__(self) -> None:
        self.on = True

    async def around(self, call: Call[T]) -> T:
        if not self.on:
            raise StoreUnavailable("the backend is stopped", store=self.name)
        return await call()


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
    """The backend asked for; Redis if none was and a server is installed, else SQLite."""
    if kind is None:
        kind = "redis" if find_server("redis-server") else "sqlite"
    return RedisBackend() if kind == "redis" else SQLiteBackend(folder)
