"""Room in a full journal: whom it wakes, and that no room is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kvwrap import MemoryStore, ValueTooLarge
from kvwrap.layers.shared.journal import journal as journal_module
from kvwrap.layers.shared.journal.room import Request, Room
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


class Full:
    """A journal as far as `Room` looks at it."""

    def __init__(self, *keys: str) -> None:
        self.pending: dict[tuple[None, str], Any] = {(None, key): None for key in keys}

    @property
    def size(self) -> int:
        return len(self.pending)


class Waiters:
    """Tasks that wait for room, and the order in which they got it."""

    def __init__(self, journal: Full, most: int) -> None:
        self.room = Room(journal)  # type: ignore[arg-type]  # what it looks at
        self.passed: list[str] = []
        self._most = most

    async def wait(self, *keys: str) -> asyncio.Task[None]:
        async def wait() -> None:
            await self.room.wait(Request(None, keys, self._most), lambda: None)
            self.passed.append("".join(keys))

        task = asyncio.create_task(wait())
        await ManualClock.settle()
        return task


async def test_as_many_are_woken_as_fit_in_their_order() -> None:
    journal = Full("x", "y", "z")
    waiters = Waiters(journal, 3)
    tasks = [await waiters.wait(*keys) for keys in ("a", "bc", "d", "e")]
    waiters.room.wake()
    await ManualClock.settle()
    assert waiters.passed == [], "it is full"
    del journal.pending[None, "x"], journal.pending[None, "y"]
    waiters.room.wake()
    await ManualClock.settle()
    assert waiters.passed == ["a", "d"], "bc does not fit beside a"
    journal.pending.clear()
    waiters.room.wake()
    await ManualClock.settle()
    assert waiters.passed == ["a", "d", "bc", "e"]
    await asyncio.gather(*tasks)


async def test_a_batch_over_the_limit_waits_for_an_empty_journal() -> None:
    journal = Full("x", "y")
    waiters = Waiters(journal, 2)
    task = await waiters.wait("a", "b", "c")
    del journal.pending[None, "x"]
    waiters.room.wake()
    await ManualClock.settle()
    assert not task.done()
    journal.pending.clear()
    waiters.room.wake()
    await task


async def test_one_that_is_cancelled_when_it_was_woken_passes_the_room_on() -> None:
    journal = Full("x")
    waiters = Waiters(journal, 1)
    first, second, third = [await waiters.wait(key) for key in "abc"]
    second.cancel()
    await ManualClock.settle()
    journal.pending.clear()
    waiters.room.wake()
    first.cancel()
    await third
    assert waiters.passed == ["c"]


async def test_one_that_finds_the_room_taken_waits_again() -> None:
    journal = Full("x")
    waiters = Waiters(journal, 1)
    task = await waiters.wait("a")
    journal.pending.clear()
    waiters.room.wake()
    journal.pending[None, "y"] = None
    await ManualClock.settle()
    assert not task.done()
    journal.pending.clear()
    waiters.room.wake()
    await task


async def test_all_that_wait_are_accepted_in_the_end(tmp_path: Path) -> None:
    backend = MemoryStore()
    async with WriteBehind(tmp_path / "j", max_pending=5, max_wait=60).over(backend) as store:
        keys = numbered_keys(200)
        await asyncio.gather(*(store.put(key, key) for key in keys))
        await store.find(WriteBehind).flush()
        assert await backend.get_many(keys) == keys


async def test_one_that_is_refused_passes_the_room_on(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LARGEST_VALUE", 100)
    async with FaultyStore(clock=clock) as backend:
        layer = WriteBehind(tmp_path / "j", max_pending=1, max_wait=60, shutdown_timeout=0)
        async with layer.over(backend) as store:
            backend.gate.clear()
            await store.put("first", 1)
            large = asyncio.create_task(store.put("large", "x" * 200))
            await ManualClock.settle()
            small = asyncio.create_task(store.put("small", 2))
            await ManualClock.settle()
            backend.gate.set()
            with pytest.raises(ValueTooLarge):
                await large
            await small
            await store.find(WriteBehind).flush()
            assert await backend.keys() == ["first", "small"]
