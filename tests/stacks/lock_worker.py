"""What processes do that share a lock: count, outside of the store, under it.

The counter is in a database of its own. It keeps the highest fencing number that it has seen, and
refuses smaller ones, in reads as in writes: a holder that was paused for longer than its lease
must not write, nor may its successor read before that is certain.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kvwrap import Lease, LockLost, Store, StoreUnavailable
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import LocalServer
from tests.catalog import STORES, Resources


class Counter:
    """A counter that refuses holders with an older fencing number."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")

    def create(self) -> None:
        run = self._database.execute
        run("CREATE TABLE counter (value INTEGER, fence INTEGER, pid INTEGER)")
        run("INSERT INTO counter VALUES (0, 0, 0)")
        run("CREATE TABLE blocks (fence INTEGER PRIMARY KEY, begun REAL, ended REAL, counts INT)")

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def state(self) -> tuple[int, int, int]:
        """Return the value, the fencing number and the process of the last holder."""
        (row,) = self._database.execute("SELECT value, fence, pid FROM counter")
        value, fence, pid = row
        return value, fence, pid

    def blocks(self) -> list[tuple[int, float, float | None, int]]:
        """Return the blocks by their fencing numbers: begin, end, and whether one has counted."""
        return list(self._database.execute("SELECT * FROM blocks ORDER BY fence"))

    def begin(self, fence: int) -> int | None:
        """Return the value, or `None` for a holder that has a successor."""
        with self._transaction():
            value, seen, _ = self.state()
            if fence <= seen:
                return None
            self._database.execute("UPDATE counter SET fence = ?, pid = ?", (fence, os.getpid()))
            self._database.execute(
                "INSERT INTO blocks VALUES (?, ?, NULL, 0)", (fence, time.monotonic())
            )
            return value

    def end(self, fence: int, value: int) -> None:
        """Write the value, unless the holder has a successor."""
        with self._transaction():
            _, seen, _ = self.state()
            counts = int(fence == seen)
            if counts:
                self._database.execute("UPDATE counter SET value = ?", (value,))
            self._database.execute(
                "UPDATE blocks SET ended = ?, counts = ? WHERE fence = ?",
                (time.monotonic(), counts, fence),
            )


async def count(store: Store, counter: Counter, rounds: int, ttl: float) -> None:
    """Count up to `rounds`, each time under the lock."""
    while counter.state()[0] < rounds:
        # Another process may be paused in the middle of a write, and SQLite waits for it.
        with suppress(LockLost, StoreUnavailable):
            async with store:
                while counter.state()[0] < rounds:
                    async with store.lock("counter", ttl=ttl) as lease:
                        await run_one(counter, lease, rounds)


async def run_one(counter: Counter, lease: Lease, rounds: int) -> None:
    """Count once in the block of a lease."""
    value = counter.begin(lease.fencing)
    if value is not None and value < rounds:
        await asyncio.sleep(0.002)
        counter.end(lease.fencing, value + 1)


def main(kind: str, folder: str, name: str, rounds: str, ttl: str) -> None:
    def url(server: type[LocalServer]) -> str:
        return os.environ[server.url_variable()]

    store = STORES[kind](Resources(SystemClock(), Path(folder), url, name))
    asyncio.run(count(store, Counter(f"{folder}/counter.db"), int(rounds), float(ttl)))


if __name__ == "__main__":
    main(*sys.argv[1:])
