"""The search for a seed with which a simulation breaks a property."""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from kvwrap.testing.lab.history import History
from kvwrap.testing.lab.loop import VirtualLoop
from kvwrap.testing.lab.simulation import Lab

SEED = "KVWRAP_LAB_SEED"
"""The environment variable with the only seed to run."""

Scenario = Callable[[Lab], Awaitable[object]]


def explore(scenario: Scenario, runs: int = 100, *, first: int = 0) -> None:
    """Run a scenario with many seeds. The first failure gets a note with the command to repeat it.

    Call it outside of event loops: every run has its own, whose time is simulated.

    Args:
        scenario: An async function that gets a `Lab`, and raises if a property does not hold.
        runs: The number of seeds.
        first: The first of them. The variable `KVWRAP_LAB_SEED` replaces all by one.
    """
    only = os.environ.get(SEED)
    for seed in range(first, first + runs) if only is None else (int(only),):
        try:
            simulate(scenario, seed)
        except Exception as error:
            error.add_note(f"seed {seed}; to repeat it: {repeat_command(seed)}")
            raise


def simulate(scenario: Scenario, seed: int) -> History:
    """Run a scenario with one seed. Returns what its processes recorded.

    Raises what the scenario raises, or else what a callback or an abandoned task raised.
    """
    loop = VirtualLoop()
    errors: list[BaseException] = []

    def note(_: object, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Exception):
            errors.append(context["exception"])

    loop.set_exception_handler(note)
    randomness = random.getstate()
    random.seed(seed)  # pauses between attempts are drawn from it
    labs: list[Lab] = []
    try:
        loop.run_until_complete(_play(scenario, seed, labs))
        if errors:
            raise errors[0]
        return labs[0].history
    finally:
        random.setstate(randomness)
        for lab in labs:
            lab.end()
        _end(loop)


async def _play(scenario: Scenario, seed: int, labs: list[Lab]) -> None:
    labs.append(Lab(seed))
    await scenario(labs[0])


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left, since a task must not be garbage collected halfway."""
    tasks = asyncio.all_tasks(loop)
    try:
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def repeat_command(seed: int) -> str:
    """Return the command that runs the current test, or program, with this seed only."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    command = [sys.executable, "-m", "pytest", test] if test else sys.orig_argv
    return f"{SEED}={seed} {shlex.join(command)}"
