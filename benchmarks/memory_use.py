"""The memory that an entry takes beyond its payload, in a process of its own.

Run as a program, it fills a store and prints the bytes for each entry.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.table import Row
from kvwrap import MemoryStore

ENTRIES = 1_000_000
VALUE = {"user_id": 12345, "name": "Ada Lovelace", "roles": ["admin", "dev"], "active": True}
AT_MOST = 450


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def fill() -> float:
    """Fill a bounded store past its bound, ghost queue included. Returns bytes for each entry.

    Every entry has a key, a body and times of its own, as if it were put alone. The payload, which
    is not counted, is the characters of the keys and the bytes of the bodies.
    """
    store = MemoryStore(max_entries=ENTRIES)
    gc.collect()
    before = resident()
    for number in range(ENTRIES + ENTRIES // 10):
        await store.put(f"user:{number:08}", VALUE, collection="users", ttl=3600)
    gc.collect()
    used = resident() - before
    assert len(store) == ENTRIES
    (entry,) = await store.read("users", [f"user:{ENTRIES + ENTRIES // 10 - 1:08}"])
    assert entry is not None
    return used / ENTRIES - len("user:00000000") - len(entry.body)


async def rows() -> AsyncIterator[Row]:
    """Measure the memory of 1,000,000 entries with a ttl in a bounded store."""
    command = [sys.executable, "-m", "benchmarks.memory_use"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    used = float(output)
    yield Row(
        "memory for each of 1,000,000 entries with a ttl, bounded, beyond its payload",
        f"{used:.0f} bytes",
        "589 bytes, an earlier version",
        f"{used:.0f} bytes",
        f"at most {AT_MOST} bytes",
        used <= AT_MOST,
    )


if __name__ == "__main__":
    print(asyncio.run(fill()))
