"""Other processes that use a tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEADER = """
import asyncio, fcntl, os, sys, time
from kvwrap import FileTreeStore, Keyring, StoreFull, StoreUnavailable, ValueTooLarge, stack
folder = sys.argv[1]
"""

WRITING = """
async def main():
    store = FileTreeStore(folder, durability="off")
    value = "x" * 200_000
    for number in range(1_000_000):
        await store.put_many(["a", "b"], [[number, value]] * 2)
        print(number, flush=True)

asyncio.run(main())
"""

HALF_A_FILE = """
write = os.write
def half(file, data):
    write(file, bytes(data)[: len(data) // 2])
    print("half", flush=True)
    time.sleep(1000)

async def main():
    store = FileTreeStore(folder)
    await store.put("k", "before")
    os.write = half
    await store.put("k", "after" * 1000)

asyncio.run(main())
"""
"""Stops in the middle of the second file that it writes, with its lock."""


def start(program: str, folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a program that uses a tree."""
    return subprocess.Popen(
        [sys.executable, "-c", HEADER + program, str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
