"""Time two functions alternately in one process, so that the machine's load affects both.

Also measures for how long a call blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

Work = Callable[[int], Awaitable[None]]
"""Runs an operation this number of times."""

ROUNDS = 11
"""Rounds that are measured, after a warm-up round."""

FINE_ROUNDS = 41
"""Rounds of what takes so little time that the speed of the machine changes between them."""


class Pair(NamedTuple):
    """Medians over the rounds: of each side, and of ratio and difference per round.

    In microseconds per operation, and for blocking in milliseconds.
    """

    ours: float
    theirs: float
    ratio: float
    difference: float


def repeated(call: Callable[[], Awaitable[object]]) -> Work:
    """Return the work that awaits a call as often as it is told."""

    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    return work


async def timed(work: Work, count: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the microseconds of CPU time per operation, with the garbage collector disabled.

    The load of the machine hardly changes the CPU time of this process. Elapsed time would count
    what other programs take: with a server behind, up to many times the work. It is right where
    both sides wait for a disk (`clock=time.perf_counter`).
    """
    gc.collect()
    gc.disable()
    try:
        start = clock()
        await work(count)
        return (clock() - start) / count * 1e6
    finally:
        gc.enable()


async def pair(
    ours: Work,
    theirs: Work,
    ours_count: int,
    theirs_count: int,
    prepare: Callable[[], Awaitable[object]] | None = None,
    clock: Callable[[], float] = time.process_time,
    rounds_count: int = ROUNDS,
) -> Pair:
    """Time both alternately. The order changes every round; a warm-up round precedes them.

    Args:
        ours: The first work.
        theirs: The work to compare it with.
        ours_count: Operations of the first work in a round.
        theirs_count: Operations of the other work in a round.
        prepare: Called before each round, unmeasured.
        clock: What measures the time; the CPU time of this process if omitted.
        rounds_count: How often both are timed.
    """
    gc.collect()
    gc.freeze()  # so that the collection before each round takes no time
    try:
        await timed(ours, max(1, ours_count // 5), clock)
        await timed(theirs, max(1, theirs_count // 5), clock)
        rounds: list[tuple[float, float]] = []
        for round_number in range(rounds_count):
            if prepare is not None:
                await prepare()
            if round_number % 2:
                their_time = await timed(theirs, theirs_count, clock)
                our_time = await timed(ours, ours_count, clock)
            else:
                our_time = await timed(ours, ours_count, clock)
                their_time = await timed(theirs, theirs_count, clock)
            rounds.append((our_time, their_time))
        return _medians(rounds)
    finally:
        gc.unfreeze()


async def interleaved(works: Mapping[str, Work], count: int) -> dict[str, float]:
    """Return the median microseconds of several works, timed alternately like those of `pair`."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS + 1):
        for name, work in works.items():
            times[name].append(await timed(work, count))
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


TICK = 0.001
"""Seconds between the wake-ups of the task that notices blocking."""

BLOCKING_ROUNDS = 5
"""Rounds in which blocking is measured, after a warm-up round."""


async def blocking(call: Callable[[], Awaitable[object]]) -> float:
    """Return the longest time for which one call kept another task waiting, in milliseconds.

    The other task wakes up every millisecond, and the time beyond that counts, but at most the
    CPU time that this process used: the rest is other programs'.
    """
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last, last_used = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK)
            now, used = time.perf_counter(), time.process_time()
            longest = max(longest, min(now - last - TICK, used - last_used))
            last, last_used = now, used

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(2 * TICK)
    gc.collect()
    gc.freeze()  # what was there before is not visited: that takes as long as the program is large
    await asyncio.sleep(2 * TICK)
    longest = 0.0
    await call()
    await asyncio.sleep(2 * TICK)
    gc.unfreeze()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    return longest * 1000


async def median_blocking(
    prepare: Callable[[], Awaitable[Callable[[], Awaitable[object]]]],
) -> float:
    """Return the median of the longest blocking of several rounds, in milliseconds.

    Args:
        prepare: Prepares a round, unmeasured, and returns the call to measure.
    """
    await blocking(await prepare())
    return statistics.median([await blocking(await prepare()) for _ in range(BLOCKING_ROUNDS)])


async def pair_blocking(
    ours: Callable[[], Awaitable[Callable[[], Awaitable[object]]]],
    theirs: Callable[[], Awaitable[Callable[[], Awaitable[object]]]],
) -> Pair:
    """Measure the blocking of both alternately, in milliseconds, in rounds like those of `pair`."""
    rounds = [
        (await blocking(await ours()), await blocking(await theirs())) for _ in range(ROUNDS + 1)
    ]
    return _medians(rounds[1:])


def _medians(rounds: Sequence[tuple[float, float]]) -> Pair:
    return Pair(
        statistics.median(a for a, _ in rounds),
        statistics.median(b for _, b in rounds),
        statistics.median(a / b for a, b in rounds),
        statistics.median(a - b for a, b in rounds),
    )
