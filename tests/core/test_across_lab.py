"""One computation in simulated processes, which crash, pause and lose their connections."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from kvwrap import MemoryStore, Store, stack
from kvwrap.core.across import LEASE
from kvwrap.testing.lab import (
    History,
    Lab,
    Process,
    explore,
    faults,
    overlaps,
    repetitions,
)
from tests.conftest import SOAK

RUNS = 2_000 if SOAK else 25
LONGEST = 1.0
"""Seconds that a computation takes at most."""


def bare(lab: Lab, process: Process) -> Store:
    return lab.far(process)


def hashed(lab: Lab, process: Process) -> Store:
    return stack().hash_keys(b"s" * 32).prefix_key("app:").over(lab.far(process))


def cached(lab: Lab, process: Process) -> Store:
    near = MemoryStore(clock=process.clock)
    tiers = stack().read_through(near, bound=0.5, negative_ttl=60, ttl=60, refresh_ahead=0.5)
    return tiers.over(lab.far(process))


def by_ttl(lab: Lab, process: Process) -> Store:
    near = MemoryStore(clock=process.clock)
    return (
        stack().read_through(near, coherence="ttl", negative_ttl=60, ttl=60).over(lab.far(process))
    )


STACKS: list[Callable[[Lab, Process], Store]] = [bare, hashed, cached, by_ttl]


def asking(
    kinds: Sequence[Any],
    check: Callable[[Lab], None],
    *,
    seconds: float = 20,
    until: float | None = None,
    across: Literal["processes"] | None = "processes",
) -> Any:
    """Return a scenario: in three processes, several tasks ask for two keys that are missing.

    Args:
        kinds: The faults.
        check: What must hold of the history.
        seconds: For how long it lasts.
        until: When the faults end; at the end if omitted.
        across: The argument of `get_or_put`.
    """

    async def scenario(lab: Lab) -> None:
        rng, history = lab.rng, lab.history
        make = rng.choice(STACKS)

        async def ask(store: Store, key: str) -> None:
            await asyncio.sleep(rng.random() * 2)

            async def compute() -> int:
                with history.operation("compute", key):
                    await asyncio.sleep(rng.random() * LONGEST)
                    return len(history)

            with history.operation("ask", key) as asked:
                asked.value = await store.get_or_put(
                    key, compute, on_error="compute", across=across
                )

        async def main(process: Process) -> None:
            store = make(lab, process)
            await asyncio.gather(*(ask(store, key) for key in "kl" for _ in range(3)))

        for name in "abc":
            lab.start(name, main)
        await lab.run(seconds if until is None else until, kinds, every=2.0)
        if until is not None:
            await lab.run(seconds - until)
        check(lab)

    return scenario


def unanswered(history: History, within: float) -> list[str]:
    """Return the calls of living processes that took longer."""
    calls = [call for calls in history.of("ask").values() for call in calls]
    return [
        f"{call.process} asked for {call.key} at {call.began:.3f} s, answered at {call.ended:.3f} s"
        for call in calls
        if call.process not in history.killed and not call.ended - call.began <= within
    ]


def values(history: History) -> dict[str, set[int]]:
    """Return what was answered, by key."""
    return {
        key: {call.value for call in calls if call.ended < math.inf}
        for key, calls in history.of("ask").items()
    }


def computed_once(lab: Lab) -> None:
    assert not repetitions(lab.history, "compute")
    assert not unanswered(lab.history, within=LONGEST + 1)
    assert all(len(answers) == 1 for answers in values(lab.history).values())


def computed_by_one_at_a_time(lab: Lab) -> None:
    history = lab.history
    assert not overlaps(history, "compute")
    for key, computations in history.of("compute").items():
        assert sum(each.ended < math.inf for each in computations) <= 1, key
    assert not unanswered(history, within=(LEASE + LONGEST + 1) * (1 + len(history.killed)))
    assert all(len(answers) <= 1 for answers in values(history).values())


def everybody_answered(lab: Lab) -> None:
    assert not unanswered(lab.history, within=30)


QUIET = [faults.cut_link, faults.silence_link, faults.set_clock]
"""What neither stops a process nor cuts off its calls."""


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_one_process_computes() -> None:
    explore(asking(QUIET, computed_once), runs=RUNS)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_another_process_computes_if_the_first_dies() -> None:
    explore(
        asking([*QUIET, faults.crash], computed_by_one_at_a_time, seconds=45, until=15), runs=RUNS
    )


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_everybody_is_answered_whatever_happens() -> None:
    kinds = [*QUIET, faults.crash, faults.pause, faults.isolate]
    explore(asking(kinds, everybody_answered, seconds=50, until=15), runs=RUNS)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_the_lab_would_find_two_computations() -> None:
    with pytest.raises(AssertionError, match="expected 1"):
        explore(asking(QUIET, computed_once, across=None), runs=RUNS)
