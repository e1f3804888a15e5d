"""Journals, forked children, and the end of a program with pending changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import MemoryStore
from kvwrap.layers.write_behind import WriteBehind

BEGIN = """
import asyncio, gc, os, sys
from kvwrap import MemoryStore, StoreUnavailable, stack
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.write_behind import WriteBehind

class Down(MemoryStore):
    is_up = False
    async def write(self, collection, keys, *arguments):
        if not self.is_up:
            raise StoreUnavailable("down")
        print("sent", *keys, flush=True)
        return [True] * len(keys)
    async def ping(self):
        if not self.is_up:
            raise StoreUnavailable("down")

kind, path = sys.argv[1:]
def build(backend):
    if kind == "write_behind":
        return stack().write_behind(path, shutdown_timeout=30).over(backend)
    return stack().fallback(
        MemoryStore(), writes="journal", journal=path, recovery_delay=0
    ).over(backend)
"""

FORKED = """
async def in_child(store):
    for name, call in {
        "put": lambda: store.put("child", 1),
        "get": lambda: store.get("parent 0"),
        "delete": lambda: store.delete("parent 0"),
        "increment": lambda: store.increment("parent 0"),
        "keys": lambda: store.keys(),
        "flush": lambda: store.parts[0].flush(),
    }.items():
        try:
            await asyncio.wait_for(call(), 30)
        except StoreUnavailable as error:
            assert "belongs to the process" in str(error), error
            print(name, "refused", flush=True)
    Down.is_up = True  # and closing sends nothing of the parent's
    await asyncio.wait_for(store.close(), 30)

store = build(Down())
loop = asyncio.new_event_loop()
loop.run_until_complete(store.put("parent 0", 0))
child = os.fork()
if not child:
    asyncio.run(in_child(store))
    del store
    gc.collect()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0

async def go_on():
    for number in range(1, 20):
        await store.put(f"parent {number}", number)
    assert await store.get("parent 7") == 7

loop.run_until_complete(go_on())
print("acknowledged", flush=True)
os._exit(0)  # as if it were killed
"""

LEFT = """
async def main():
    store = build(Down())
    await store.put("k", 1)
    if HOW == "collected":
        del store
        gc.collect()
    elif HOW == "global":
        globals()["store"] = store
    elif HOW == "task":
        globals()["task"] = asyncio.ensure_future(store.put("other", 2))
    await asyncio.sleep(0.05)

asyncio.run(main())
gc.collect()
if HOW == "again":  # in another loop
    async def again():
        async with build(Down()) as store:
            await store.put("later", 3)
    asyncio.run(again())
print("end", flush=True)
"""


def run(code: str, kind: str, path: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", BEGIN + code, kind, str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # A child has tasks of the parent's loop, which complain when it ends.
    assert code is FORKED or not result.stderr, result.stderr
    return result.stdout


async def arrived(path: Path) -> list[str]:
    async with MemoryStore() as backend:
        async with WriteBehind(path).over(backend) as store:
            await store.find(WriteBehind).flush()
        return await backend.keys()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["write_behind", "fallback"])
async def test_a_forked_child_is_refused_and_the_parent_loses_nothing(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    said = run(FORKED, kind, path).split("\n")[:-1]
    names = ["put", "get", "delete", "increment", "keys", "flush"]
    assert said == [*(f"{name} refused" for name in names), "acknowledged"]
    assert await arrived(path) == sorted(f"parent {number}" for number in range(20))


@pytest.mark.parametrize("how", ["collected", "global", "task", "again"])
@pytest.mark.parametrize("kind", ["write_behind", "fallback"])
async def test_a_program_ends_with_pending_changes_and_the_journal_keeps_them(
    kind: str, how: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    assert run(LEFT.replace("HOW", repr(how)), kind, path) == "end\n"
    assert "k" in await arrived(path)
