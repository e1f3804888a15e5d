"""Concurrent writes: in the end the fallback has what the inner store has."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from kvwrap import MemoryStore, stack
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
