"""Long work gives other tasks turns."""

from __future__ import annotations

import asyncio

from kvwrap.core.turns import SLICE, Turns, in_slices, slices, turn
from tests.turns import turns_during


def test_turns_are_due_after_a_number_of_small_values() -> None:
    turns = Turns()
    due = [number for number in range(1, 3 * SLICE + 1) if turns.are_due()]
    assert due == [SLICE, 2 * SLICE, 3 * SLICE]


def test_large_values_count_by_their_bytes() -> None:
    turns = Turns()
    assert not turns.are_due((SLICE - 2) * 1024)
    assert turns.are_due()
    assert turns.are_due(10_000_000)
    assert not turns.are_due(1023)


def test_several_keys_count_at_once() -> None:
    turns = Turns()
    assert not turns.are_due(0, SLICE - 1)
    assert turns.are_due(0, 1)
    assert turns.are_due(SLICE * 512, SLICE // 2)


def test_slices_cover_a_batch_once() -> None:
    for count in (0, 1, SLICE, SLICE + 1, 3 * SLICE - 1):
        batch = list(range(count))
        parts = [batch[part] for part in slices(count)]
        assert [item for part in parts for item in part] == batch
        assert all(0 < len(part) <= SLICE for part in parts)
        assert len(parts) == -(-count // SLICE)


async def test_a_turn_lets_others_run() -> None:
    async def work() -> None:
        for _ in range(3):
            await turn()

    assert await turns_during(work()) == 3


async def test_work_without_turns_is_noticed() -> None:
    assert await turns_during(asyncio.sleep(0)) == 1


async def test_work_in_slices_has_the_results_of_map() -> None:
    batch = list(range(2 * SLICE + 1))
    assert await in_slices(max, batch, batch[::-1]) == list(map(max, batch, batch[::-1]))
    assert await in_slices(str, []) == []
    assert await turns_during(in_slices(str, batch)) == 2
