"""`LMDBStore` compared with the bare driver on a thread, for the same JSON."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from benchmarks.table import Row, ratio
from benchmarks.timing import pair, repeated
from kvwrap import LMDBStore
from kvwrap.core.threads import SingleThread

VALUE = {"name": "Ada Lovelace", "visits": 12, "tags": ["a", "b"], "note": "x" * 60}
KEYS = [f"key:{number}" for number in range(100)]
AT_MOST = 1.3


class Driver:
    """The driver, with one transaction on one thread for each call."""

    def __init__(self, folder: Path) -> None:
        self._environment = lmdb.open(str(folder), map_size=1 << 28)
        self._thread = SingleThread("driver")

    async def get(self, *keys: str) -> None:
        """Read keys."""
        await asyncio.wrap_future(self._thread.submit(self._get, keys))

    async def put(self, *keys: str) -> None:
        """Write keys. They are on the disk afterwards."""
        await asyncio.wrap_future(self._thread.submit(self._put, keys))

    def _get(self, keys: tuple[str, ...]) -> list[Any]:
        with self._environment.begin() as transaction:
            return [msgspec.json.decode(transaction.get(key.encode()) or b"") for key in keys]

    def _put(self, keys: tuple[str, ...]) -> None:
        with self._environment.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key.encode(), msgspec.json.encode(VALUE))

    def close(self) -> None:
        """Close the environment and end the thread."""
        self._thread.shutdown()
        self._environment.close()


def together(put: Callable[[str], Awaitable[None]]) -> Callable[[], Awaitable[object]]:
    """Return a call in which 64 tasks put one key each."""

    async def task(key: str) -> None:
        await put(key)

    return lambda: asyncio.gather(*map(task, KEYS[:64]))


async def rows() -> AsyncIterator[Row]:
    """Measure single calls, batches of 100, and tasks that put at the same time."""
    key = KEYS[5]
    values = [VALUE] * len(KEYS)
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(Path(folder, "driver"))
        async with LMDBStore(Path(folder, "store")) as store:
            await store.put_many(KEYS, values)
            await driver.put(*KEYS)
            for name, ours, theirs, count in (
                ("get", lambda: store.get(key), lambda: driver.get(key), 300),
                ("put", lambda: store.put(key, VALUE), lambda: driver.put(key), 50),
                ("`get_many` of 100", lambda: store.get_many(KEYS), lambda: driver.get(*KEYS), 100),
                (
                    "`put_many` of 100",
                    lambda: store.put_many(KEYS, values),
                    lambda: driver.put(*KEYS),
                    50,
                ),
                (
                    "64 tasks that put",
                    together(lambda key: store.put(key, VALUE)),
                    together(driver.put),
                    2,
                ),
            ):
                measured = await pair(
                    repeated(ours), repeated(theirs), count, count, clock=time.perf_counter
                )
                yield ratio(f"`LMDBStore`: {name}", measured, AT_MOST, str(AT_MOST))
        driver.close()
