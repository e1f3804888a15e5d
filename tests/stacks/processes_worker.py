"""What processes do that share a store of the catalog: start at once, or count together."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from pathlib import Path

from kvwrap import Keyring, Stack, Store, stack
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import STORES, Resources

TASKS = 8


def layers() -> Stack:
    """Return the layers through which the processes count."""
    return stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))


async def count(store: Store, each: int) -> None:
    """Increment one counter with several tasks, each of them `each` times."""
    async with layers().over(store) as stack_:

        async def task() -> None:
            for _ in range(each):
                await stack_.increment("visits", collection="c")

        await asyncio.gather(*(task() for _ in range(TASKS)))


async def start(store: Store, number: int) -> None:
    """Open the store and write an entry."""
    async with store:
        await store.put(f"process-{number}", number)


def start_at_once(store: Store, processes: int) -> int:
    """Fork processes that start to use the store. Returns how many failed."""
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(start(store, number))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def main(kind: str, folder: str, name: str, task: str, argument: str) -> int:
    store = STORES[kind](Resources(SystemClock(), Path(folder), SharedServers().url, name))
    if task == "start":
        return start_at_once(store, int(argument))
    asyncio.run(count(store, int(argument)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
