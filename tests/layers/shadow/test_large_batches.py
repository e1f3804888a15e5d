"""Large batches through a shadow give other tasks turns, and overlapping ones end alike."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from kvwrap import MemoryStore, NullStore, Shadow, stack
from kvwrap.core.turns import SLICE
from kvwrap.layers.base import JSON, Entry, codec, new_version
from tests.turns import turns_during

KEYS = [f"key:{number}" for number in range(3 * SLICE)]


async def test_every_pass_over_a_batch_gives_turns() -> None:
    async with stack().shadow(NullStore).over(NullStore()) as store:
        body = JSON.dumps(1)
        entries = [Entry(body, codec.JSON, 0.0, None, new_version()) for _ in KEYS]
        shadow = store.find(Shadow)
        assert await turns_during(store.write(None, KEYS, entries)) >= 6
        assert await turns_during(shadow.drain()) >= 2
        assert await turns_during(store.remove(None, KEYS)) >= 6
        await shadow.drain()
        await store.read(None, KEYS)
        assert await turns_during(shadow.drain()) >= 2
        assert shadow.idle


@pytest.mark.parametrize("turns", range(12))
async def test_overlapping_batches_leave_both_stores_alike(turns: int) -> None:
    inner, other = MemoryStore(), MemoryStore()
    async with stack().shadow(other).over(inner) as store:
        first = asyncio.create_task(store.put_many(KEYS, [1] * len(KEYS)))
        for _ in range(turns):
            await asyncio.sleep(0)
        second = asyncio.create_task(store.put_many(KEYS[::-1], [2] * len(KEYS)))
        await asyncio.gather(first, second, store.put(KEYS[0], 3), store.delete(KEYS[-1]))
        await store.find(Shadow).drain()
        assert store.find(Shadow).idle
        assert await other.get_many(KEYS) == await inner.get_many(KEYS)


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_a_cancelled_batch_leaves_nothing_in_progress(turns: int) -> None:
    inner, other = MemoryStore(), MemoryStore()
    async with stack().shadow(other).over(inner) as store:
        putting = asyncio.create_task(store.put_many(KEYS, [1] * len(KEYS)))
        for _ in range(turns):
            await asyncio.sleep(0)
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        await store.find(Shadow).drain()
        assert store.find(Shadow).idle
        assert await other.get_many(KEYS) == await inner.get_many(KEYS)
