"""Many changes at once: few commits, turns for others, and one order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvwrap import MemoryStore, ValueTooLarge, stack
from kvwrap.core.turns import SLICE
from kvwrap.layers.shared.journal import journal as journal_module
from kvwrap.layers.write_behind import WriteBehind
from tests.turns import turns_during

COUNT = 8 * SLICE
KEYS = [f"key-{number}" for number in range(COUNT)]


async def test_many_puts_at_once_share_commits_and_give_turns(tmp_path: Path) -> None:
    backend = MemoryStore()
    store = stack().write_behind(tmp_path / "j").over(backend)
    async with store:
        await store.put("first", 0)
        numbers = range(COUNT)
        puts = asyncio.gather(*(store.put(key, n) for key, n in zip(KEYS, numbers, strict=True)))
        assert await turns_during(puts) >= 2 * COUNT / SLICE
        await store.find(WriteBehind).flush()
        assert await backend.get_many(KEYS) == list(range(COUNT))


async def test_a_large_batch_gives_turns_and_keeps_its_order(tmp_path: Path) -> None:
    backend = MemoryStore()
    store = stack().write_behind(tmp_path / "j").over(backend)
    async with store:
        again = [*KEYS, KEYS[0]]
        putting = asyncio.ensure_future(store.put_many(again, [*range(COUNT), "last"]))
        assert await turns_during(putting) >= 3 * COUNT / SLICE
        await store.put(KEYS[1], "later")
        assert await store.get_many(KEYS[:3]) == ["last", "later", 2]
        await store.find(WriteBehind).flush()
        assert await backend.get_many(KEYS) == ["last", "later", *range(2, COUNT)]


async def test_batches_accepted_at_once_are_sent_in_the_order_of_acceptance(
    tmp_path: Path,
) -> None:
    backend = MemoryStore()
    store = stack().write_behind(tmp_path / "j").over(backend)
    async with store:
        await asyncio.gather(*(store.put_many(KEYS[:600], [n] * 600) for n in range(3)))
        seen = await store.get_many(KEYS[:600])
        assert len(set(seen)) == 1
        await store.find(WriteBehind).flush()
        assert await backend.get_many(KEYS[:600]) == seen


@pytest.mark.parametrize("turns", [1, 4, 9, 16, 24])
async def test_what_a_cancelled_batch_left_in_the_file_is_pending(
    tmp_path: Path, turns: int
) -> None:
    backend = MemoryStore()
    path = tmp_path / "j"
    store = stack().write_behind(path, shutdown_timeout=0).over(backend)
    async with store:
        putting = asyncio.create_task(store.put_many(KEYS, [1] * COUNT))
        for _ in range(turns):
            await asyncio.sleep(0)
        putting.cancel()
        await asyncio.wait([putting])
        values = await store.get_many(KEYS)
        assert values in ([None] * COUNT, [1] * COUNT)
    async with stack().write_behind(path).over(backend) as reopened:
        await reopened.find(WriteBehind).flush()
        assert await backend.get_many(KEYS) == values


async def test_one_change_that_does_not_fit_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LARGEST_VALUE", 10)
    store = stack().write_behind(tmp_path / "j").over(MemoryStore())
    async with store:
        outcomes = await asyncio.gather(
            store.put("a", 1), store.put("b", "x" * 99), store.put("c", 3), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), ValueTooLarge, type(None)]
        assert await store.get_many(["a", "b", "c"]) == [1, None, 3]
