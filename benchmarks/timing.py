"""Time two functions alternately in one process, so that the machine's load affects both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Work = Callable[[int], Awaitable[None]]
"""Runs an operation this number of times."""

ROUNDS = 21
"""Rounds that are measured; one more precedes them, unmeasured."""


class Pair(NamedTuple):
    """Medians over the rounds: microseconds per operation, and ratio and difference per round."""

    ours: float
    theirs: float
    ratio: float
    difference: float


async def timed(work: Work, count: int) -> float:
    """Return the microseconds per operation, with the garbage collector disabled."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        await work(count)
        return (time.perf_counter() - start) / count * 1e6
    finally:
        gc.enable()


async def pair(ours: Work, theirs: Work, ours_count: int, theirs_count: int) -> Pair:
    """Time both alternately. The order changes every round; a first round is not measured."""
    await timed(ours, max(1, ours_count // 5))
    await timed(theirs, max(1, theirs_count // 5))
    rounds: list[tuple[float, float]] = []
    for round_number in range(ROUNDS):
        if round_number % 2:
            their_time = await timed(theirs, theirs_count)
            our_time = await timed(ours, ours_count)
        else:
            our_time = await timed(ours, ours_count)
            their_time = await timed(theirs, theirs_count)
        rounds.append((our_time, their_time))
    return Pair(
        statistics.median(a for a, _ in rounds),
        statistics.median(b for _, b in rounds),
        statistics.median(a / b for a, b in rounds),
        statistics.median(a - b for a, b in rounds),
    )
