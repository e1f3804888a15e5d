"""`FileTreeStore`, compared with bare files on a thread, and with py-key-value's store of files."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from key_value.aio.stores.filetree import FileTreeStore as TheirStore

from benchmarks.table import Row, ratio
from benchmarks.timing import Work, pair
from kvwrap import FileTreeStore
from kvwrap.core.threads import SingleThread

VALUE = {"name": "Ada", "visits": 12, "tags": ["a", "b"], "score": 0.5}
KEYS = [f"key-{number:03}" for number in range(100)]
AT_MOST = 1.3

Call = Callable[[str], Awaitable[object]]
"""An operation on a key."""


class BareFiles:
    """What users write: JSON in files that are replaced, on a thread."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        self._thread = SingleThread("bare files")
        folder.mkdir()

    async def get(self, key: str) -> Any:
        return orjson.loads(await self._run(self._read, key))

    async def put(self, key: str, value: Any) -> None:
        await self._run(self._write_many, [key], [orjson.dumps(value)])

    async def get_many(self, keys: list[str]) -> list[Any]:
        return list(map(orjson.loads, await self._run(self._read_many, keys)))

    async def put_many(self, keys: list[str], values: list[Any]) -> None:
        await self._run(self._write_many, keys, list(map(orjson.dumps, values)))

    async def _run(self, function: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _read(self, key: str) -> bytes:
        return (self._folder / key).read_bytes()

    def _read_many(self, keys: list[str]) -> list[bytes]:
        return list(map(self._read, keys))

    def _write_many(self, keys: list[str], contents: list[bytes]) -> None:
        for key, content in zip(keys, contents, strict=True):
            path = self._folder / f"{key}.tmp"
            with path.open("wb") as file:
                file.write(content)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
            path.replace(self._folder / key)
        if self._sync:
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


async def rows() -> AsyncIterator[Row]:
    """Measure single calls and batches of 100: by elapsed time what waits for the disk."""
    values = [VALUE] * len(KEYS)
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        theirs = TheirStore(data_directory=folder / "theirs")
        bare = BareFiles(folder / "bare", sync=False)
        synced = BareFiles(folder / "synced", sync=True)
        async with (
            FileTreeStore(folder / "store", durability="off") as store,
            FileTreeStore(folder / "durable") as durable,
        ):
            for files in (bare, synced, store, durable, theirs):
                await files.put_many(KEYS, values)
            for title, ours, other, count in (
                ("get", store.get, bare.get, 500),
                ("`get_many` of 100", many_gets(store), many_gets(bare), 10),
                ('put, `durability="off"`', puts(store), puts(bare), 100),
            ):
                measured = await pair(repeated(ours), repeated(other), count, count)
                yield ratio(f"`FileTreeStore`: {title}", measured, AT_MOST, str(AT_MOST))
            for title, ours, other, count in (
                ("put", puts(durable), puts(synced), 10),
                ("`put_many` of 100", many_puts(durable), many_puts(synced), 1),
            ):
                measured = await pair(
                    repeated(ours), repeated(other), count, count, clock=time.perf_counter
                )
                yield ratio(f"`FileTreeStore`: {title}", measured, AT_MOST, str(AT_MOST))
            for title, ours, other in (
                ("get", store.get, theirs.get),
                ('put, `durability="off"`', puts(store), puts(theirs)),
            ):
                measured = await pair(repeated(ours), repeated(other), 100, 100)
                name = f"`FileTreeStore`: {title}, compared with py-key-value's"
                yield ratio(name, measured, 1.0, "1.00")


def puts(store: Any) -> Call:
    return lambda key: store.put(key, VALUE)


def many_gets(store: Any) -> Call:
    return lambda _: store.get_many(KEYS)


def many_puts(store: Any) -> Call:
    return lambda _: store.put_many(KEYS, [VALUE] * len(KEYS))


def repeated(call: Call) -> Work:
    """Return the work of calling a function with one key after another."""

    async def work(count: int) -> None:
        for number in range(count):
            await call(KEYS[number % len(KEYS)])

    return work
