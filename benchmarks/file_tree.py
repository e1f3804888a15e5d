"""`FileTreeStore`, compared with bare files on a thread, and with py-key-value's store of files."""

from __future__ import annotations

import asyncio
import os
import tempfile
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
READS, WRITES, SYNCED = 500, 100, 10
"""Calls in a round."""


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


def repeated(call: Callable[[str], Awaitable[object]]) -> Work:
    """Return the work of calling a function with one key after another."""

    async def work(count: int) -> None:
        for number in range(count):
            await call(KEYS[number % len(KEYS)])

    return work


async def rows() -> AsyncIterator[Row]:
    """Measure single calls and batches of 100."""
    values = [VALUE] * len(KEYS)
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        theirs = TheirStore(data_directory=folder / "theirs")
        synced = BareFiles(folder / "synced", sync=True)
        bare = BareFiles(folder / "bare", sync=False)
        for files in (bare, synced):
            await files.put_many(KEYS, values)
        async with (
            FileTreeStore(folder / "off", durability="off") as store,
            FileTreeStore(folder / "full") as durable,
        ):
            for each in (store, durable, theirs):
                await each.put_many(KEYS, values, collection="c")

            def put(key: str) -> Awaitable[object]:
                return store.put(key, VALUE, collection="c")

            def get(key: str) -> Awaitable[object]:
                return store.get(key, collection="c")

            for title, ours, other, count in (
                ("get", get, bare.get, READS),
                ("put", put, lambda key: bare.put(key, VALUE), WRITES),
                (
                    "put, synced",
                    lambda key: durable.put(key, VALUE, collection="c"),
                    lambda key: synced.put(key, VALUE),
                    SYNCED,
                ),
                (
                    "get_many of 100",
                    lambda _: store.get_many(KEYS, collection="c"),
                    lambda _: bare.get_many(KEYS),
                    READS // 50,
                ),
                (
                    "put_many of 100",
                    lambda _: store.put_many(KEYS, values, collection="c"),
                    lambda _: bare.put_many(KEYS, values),
                    WRITES // 50,
                ),
            ):
                measured = await pair(repeated(ours), repeated(other), count, count)
                name = f"`FileTreeStore`: {title}, compared with bare files on a thread"
                yield ratio(name, measured, 1.3, "1.30")
            for title, ours, other in (
                ("get", get, lambda key: theirs.get(key, collection="c")),
                ("put", put, lambda key: theirs.put(key, VALUE, collection="c")),
            ):
                measured = await pair(repeated(ours), repeated(other), WRITES, WRITES)
                name = f"`FileTreeStore`: {title}, compared with py-key-value's"
                yield ratio(name, measured, 1.0, "1.00")
