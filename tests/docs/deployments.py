"""Two deployments of a program over the same data, during a rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from kvwrap import Store

COLLECTION = "users"
SEEDS = 40
ROUNDS = 3
Value = dict[str, object]


def seed(number: int) -> Value:
    return {"name": f"user {number}", "text": "the same words again and again " * 5}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds. The test's own time limit is the bound."""
    while not await condition():  # what another store holds has no event
        await asyncio.sleep(0.005)


class Rollout:
    """What programs do with a store while it is changed, and what must be there afterwards.

    Args:
        eventual: True if a deployment may see what the other one wrote a little later.
        takes_turns: True if the two deployments must not change one key at the same moment.
    """

    def __init__(self, *, eventual: bool = False, takes_turns: bool = False) -> None:
        self._eventual = eventual
        self._takes_turns = takes_turns
        self.expected: dict[str, Value] = {}
        self._counted = 0
        self._claimed = 0
        self._number = 0

    async def fill(self, store: Store) -> None:
        """Put the entries that were there before the change."""
        values = {f"seed {number}": seed(number) for number in range(SEEDS)}
        await store.put_many(list(values), list(values.values()), collection=COLLECTION)
        self.expected.update(values)

    async def run(self, one: Store, other: Store) -> None:
        """Put, read, delete and count through both deployments, until each saw the other's."""
        self._number += 1
        turns = asyncio.Lock() if self._takes_turns else nullcontext()
        await asyncio.gather(
            self._exchange(one, other, "one"),
            self._exchange(other, one, "other"),
            self._count(one, turns),
            self._count(other, turns),
            self._claim(one, other, turns),
            self._read(one),
            self._read(other),
        )

    async def check(self, store: Store) -> None:
        """Compare everything with what a store must have."""
        keys = list(self.expected)
        values = await store.get_many(keys, collection=COLLECTION)
        wrong = [
            key for key, value in zip(keys, values, strict=True) if value != self.expected[key]
        ]
        assert not wrong
        assert await store.get("count") == self._counted
        assert await store.get("claims") == self._claimed

    async def _see(self, store: Store, key: str, value: Value | None) -> None:
        async def is_seen() -> bool:
            return bool(await store.get(key, collection=COLLECTION) == value)

        if self._eventual:
            await until(is_seen)
        else:
            assert await is_seen(), f"{store.name} does not show the last write of {key}"

    async def _exchange(self, writer: Store, reader: Store, name: str) -> None:
        for number in range(ROUNDS):
            key = f"{self._number} {name} {number}"
            await writer.put(key, {**seed(number), "by": name}, collection=COLLECTION, ttl=3_600)
            await self._see(reader, key, {**seed(number), "by": name})
            left = (await reader.ttl(key, collection=COLLECTION))[1]
            assert left is not None
            assert 3_000 < left <= 3_600
            # Each key is changed by the other side too, and then by the first again.
            await reader.put(key, {"v": 2}, collection=COLLECTION, ttl=3_600)
            await self._see(writer, key, {"v": 2})
            if number % 2:
                await reader.delete(key, collection=COLLECTION)
                await self._see(writer, key, None)
            else:
                value: Value = {**seed(number), "v": 3}
                await writer.put(key, value, collection=COLLECTION, ttl=3_600)
                await self._see(reader, key, value)
                self.expected[key] = value

    async def _count(self, store: Store, turns: AbstractAsyncContextManager[object]) -> None:
        for _ in range(ROUNDS):
            async with turns:
                await store.increment("count")
            self._counted += 1

    async def _claim(
        self, one: Store, other: Store, turns: AbstractAsyncContextManager[object]
    ) -> None:
        """Let both put one key that is absent: one of them wins, and counts it."""

        async def claim(store: Store, key: str) -> bool:
            async with turns:
                return await store.put_if_absent(key, 1, collection="claims")

        for number in range(ROUNDS):
            key = f"{self._number} {number}"
            winners = await asyncio.gather(claim(one, key), claim(other, key))
            assert sum(winners) == 1
            async with turns:
                await (one if winners[0] else other).increment("claims")
            self._claimed += 1

    async def _read(self, store: Store) -> None:
        keys = [f"seed {number}" for number in range(SEEDS)]
        for _ in range(ROUNDS):
            values = await store.get_many(keys, collection=COLLECTION)
            assert values == [self.expected[key] for key in keys]
            key = keys[self._number % SEEDS]
            assert await store.get(key, collection=COLLECTION) == self.expected[key]
