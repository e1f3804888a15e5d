"""Two things timed in turn, in one process, so that the machine's moods hit both alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Work = Callable[[int], Awaitable[None]]
"""Does the thing so many times."""

ROUNDS = 21


class Pair(NamedTuple):
    """Medians over the rounds: microseconds each, and the ratio and difference round by round."""

    ours: float
    theirs: float
    ratio: float
    difference: float


async def timed(work: Work, count: int) -> float:
    """Microseconds each, with the garbage collector held off."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        await work(count)
        return (time.perf_counter() - start) / count * 1e6
    finally:
        gc.enable()


async def pair(ours: Work, theirs: Work, ours_count: int, theirs_count: int) -> Pair:
    """The two in turn, which goes first changing every round, after one round unmeasured."""
    await timed(ours, max(1, ours_count // 5))
    await timed(theirs, max(1, theirs_count // 5))
    rounds: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        if number % 2:
            b = await timed(theirs, theirs_count)
            a = await timed(ours, ours_count)
        else:
            a = await timed(ours, ours_count)
            b = await timed(theirs, theirs_count)
        rounds.append((a, b))
    return Pair(
        statistics.median(a for a, _ in rounds),
        statistics.median(b for _, b in rounds),
        statistics.median(a / b for a, b in rounds),
        statistics.median(a - b for a, b in rounds),
    )
