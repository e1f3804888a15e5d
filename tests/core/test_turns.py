"""Long work gives other tasks turns."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap.core.turns import SLICE, TurnBudget, Turns, in_slices, slices, turn
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


async def test_a_budget_is_spent_once_in_a_turn() -> None:
    budget = TurnBudget(3)
    assert [budget.take(keys) for keys in (4, 2, 2, 1, 1)] == [False, True, False, True, False]
    await turn()
    assert budget.take(3)


async def test_calls_beyond_a_budget_get_keys_of_one_further_turn_and_no_more() -> None:
    budget = TurnBudget(3)

    async def take() -> bool:
        return budget.take(1) or await budget.take_next(1)

    took = await asyncio.gather(*(take() for _ in range(8)))
    assert took == [True] * 6 + [False] * 2
    assert budget.take(3)
    assert not await budget.take_next(4)  # more than a turn ever has
    assert not budget.take(1)  # and no turn was waited for


def test_without_an_event_loop_nothing_is_in_a_budget() -> None:
    budget = TurnBudget(3)

    async def take() -> bool:
        return budget.take(1)

    assert asyncio.run(take())
    assert not budget.take(1)
    with pytest.raises(StopIteration) as ended:
        budget.take_next(1).send(None)
    assert ended.value.value is False
    assert asyncio.run(take())
