"""What processes do that share tagged entries: read them until none is found any more."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

from kvwrap import MemoryStore, PostgreSQLStore, Store, stack
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import LocalServer, PostgreSQLServer
from tests.catalog import PATIENCE, STORES, Resources

BATCH = 1_000
SECRET = b"s" * 16


def tagged(kind: str, resources: Resources) -> Store:
    """Return the stack of one process: tags over a near tier over a server."""
    if kind == "postgresql":
        # That of the catalog tells no changes.
        base: Store = PostgreSQLStore(
            resources.url(PostgreSQLServer), table=resources.name, notify=True, timeout=PATIENCE
        )
    else:
        base = STORES[kind](resources)
    return stack().tags(SECRET).read_through(MemoryStore, ttl=600).over(base)


def batches(count: int) -> list[list[str]]:
    """Return the keys of this number of entries, in batches."""
    keys = [f"entry:{number}" for number in range(count)]
    return [keys[start : start + BATCH] for start in range(0, count, BATCH)]


async def read(store: Store, count: int) -> float:
    """Read the entries until none is found. Returns when the last read began that found one."""
    parts = batches(count)
    for part in parts:
        assert await store.get_many(part) == part
    print("all were read", flush=True)
    latest, gone = 0.0, 0
    while gone < len(parts):
        # Copies of all are near. One batch is read whole at a time, and single keys in between.
        for keys in (parts[gone], [random.choice(random.choice(parts))]):
            began = time.monotonic()
            values = await store.get_many(keys)
            if values != [None] * len(keys):
                latest, gone = began, 0
            elif len(keys) > 1:
                gone += 1
    return latest


async def run(kind: str, resources: Resources, count: int) -> None:
    async with tagged(kind, resources) as store:
        print(json.dumps(await read(store, count)), flush=True)


def main(kind: str, folder: str, name: str, count: str) -> None:
    def url(server: type[LocalServer]) -> str:
        return os.environ[server.url_variable()]

    asyncio.run(run(kind, Resources(SystemClock(), Path(folder), url, name), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
