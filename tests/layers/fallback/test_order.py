"""Concurrent writes: in the end the fallback has what the inner store has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kvwrap import Fallback, MemoryStore, stack
from kvwrap.layers.base.around import Around, Call

T = TypeVar("T")


class EverFaster(Around):
    """Each write takes less time than the one before."""

    def on_bind(self) -> None:
        self._seconds = 0.02

    async def around(self, call: Call[T]) -> T:
        if call.operation != "read":
            self._seconds /= 2
            await asyncio.sleep(self._seconds)
        return await call()


async def test_writes_of_one_key_are_copied_in_their_order() -> None:
    inner, other = MemoryStore(), MemoryStore()
    store = stack().fallback(EverFaster().over(other), writes="both").over(inner)
    async with store:
        await asyncio.gather(*(store.put("key", number) for number in range(4)))
        assert await other.get("key") == await inner.get("key") == 3
        counts = await asyncio.gather(*(store.increment("count") for _ in range(4)))
        assert await other.get("count") == await inner.get("count") == max(counts)
        await asyncio.gather(store.put_many(["b", "a"], [1, 1]), store.delete_many(["a", "b"]))
        assert await other.get_many(["a", "b"]) == await inner.get_many(["a", "b"])


class Held(Around):
    """Makes every write wait for an event."""

    def __init__(self, go: asyncio.Event) -> None:
        self._go = go

    async def around(self, call: Call[T]) -> T:
        if call.operation == "write":
            await self._go.wait()
        return await call()


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize("everything", [False, True])
async def test_a_copy_in_progress_does_not_follow_a_drop(
    tmp_path: Path, journaled: bool, everything: bool
) -> None:
    inner, other = MemoryStore(), MemoryStore()
    go = asyncio.Event()
    mode: dict[str, Any] = {"writes": "both"}
    if journaled:
        mode = {"writes": "journal", "journal": tmp_path / "journal"}
    store = stack().fallback(Held(go).over(other), **mode).over(inner)
    async with store:
        putting = [
            asyncio.create_task(store.put_many(["a", "b"], [1, 2], collection="c")),
            asyncio.create_task(store.put("b", 3, collection="c")),
            asyncio.create_task(store.put("a", 4)),
        ]
        while await inner.get("a", collection="c") is None:
            await asyncio.sleep(0)
        drop = store.destroy() if everything else store.destroy_collection("c")
        dropping = asyncio.create_task(drop)
        await _turns()
        later = asyncio.create_task(store.put_many(["a", "z"], [5, 6], collection="c"))
        await _turns()
        assert not dropping.done()
        assert not store.find(Fallback).idle
        go.set()
        await asyncio.gather(*putting, dropping, later)
        assert store.find(Fallback).idle
        for part in (inner, other):
            assert sorted([item async for item in part.items(collection="c")]) == [
                ("a", 5),
                ("z", 6),
            ]
            assert await part.get("a") == (None if everything else 4)
