"""Processes, time, messages and seeds of a simulation."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from kvwrap import MemoryStore, StoreTimeout, StoreUnavailable, stack
from kvwrap.testing.clock import START
from kvwrap.testing.lab import (
    History,
    Lab,
    Path,
    Process,
    Stuck,
    explore,
    faults,
    older_reads,
    simulate,
)

ALL_FAULTS = [
    faults.pause, faults.crash, faults.cut_link, faults.silence_link, faults.isolate,
    faults.set_clock,
]  # fmt: skip


def cache(lab: Lab, ttl: float, numbers: Iterator[int]) -> Any:
    """Return the main function of a process that reads and writes through a cache."""

    async def work(store: Any) -> None:
        while True:
            await asyncio.sleep(lab.rng.random() / 5)
            with suppress(StoreUnavailable):
                if lab.rng.random() < 0.2:
                    with lab.history.operation("write", "k", next(numbers)) as write:
                        await store.put("k", write.value)
                else:
                    with lab.history.operation("read", "k") as read:
                        read.value = await store.get("k")

    async def main(process: Process) -> None:
        near = stack().read_through(
            lambda: MemoryStore(clock=process.clock), ttl=ttl, coherence="ttl"
        )
        await work(near.over(lab.far(process)))

    return main


def caches(ttl: float, *kinds: Any) -> Any:
    async def scenario(lab: Lab) -> None:
        numbers = itertools.count(1)
        for name in ("a", "b"):
            lab.start(name, cache(lab, ttl, numbers))
        await lab.run(10, kinds)
        assert not older_reads(lab.history, bound=1.0)

    return scenario


def test_the_lab_finds_a_cache_that_is_late_and_no_fault_in_one_that_is_not() -> None:
    kinds = [faults.pause, faults.crash, faults.isolate]
    explore(caches(1.0, *kinds), runs=20)
    with pytest.raises(AssertionError, match="had replaced that for 1"):
        explore(caches(1.5, *kinds), runs=20)


def as_rows(history: History) -> list[tuple[Any, ...]]:
    return [(each.process, each.kind, each.key, each.began, each.ended) for each in history]


def test_a_seed_determines_everything() -> None:
    first, again, other = (simulate(caches(1.0, *ALL_FAULTS[:5]), seed) for seed in (1, 1, 2))
    assert as_rows(first) == as_rows(again)
    assert first.killed == again.killed
    assert as_rows(first) != as_rows(other)


def test_a_failure_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(lab: Lab) -> None:
        assert lab.rng.random() < 0.9, "not this one"

    with pytest.raises(AssertionError, match="not this one") as caught:
        explore(scenario, runs=100)
    (note,) = caught.value.__notes__
    variable, _, words = note.partition("KVWRAP_LAB_SEED=")[2].partition(" ")
    assert words.endswith(f"test_simulation.py::{test_a_failure_says_how_to_repeat_it.__name__}")
    monkeypatch.setenv("KVWRAP_LAB_SEED", variable)
    with pytest.raises(AssertionError, match="not this one"):
        explore(scenario, runs=1, first=10**9)


def test_a_program_is_repeated_by_its_own_command(tmp_path: Any) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from kvwrap.testing.lab import explore\n"
        "async def scenario(lab):\n"
        "    assert lab.rng.random() < 0.9\n"
        "explore(scenario)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    ended = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "to repeat it: KVWRAP_LAB_SEED=" in ended.stderr
    assert ended.stderr.rstrip().endswith(str(program))


def test_time_passes_only_when_all_wait() -> None:
    async def scenario(lab: Lab) -> None:
        await asyncio.gather(asyncio.sleep(1000), asyncio.sleep(3000))
        assert lab.now == pytest.approx(3000)
        assert lab.clock.time() == pytest.approx(START + 3000)

    simulate(scenario, 0)


def test_what_nothing_can_wake_is_told() -> None:
    async def scenario(_: Lab) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        simulate(scenario, 0)


def ticker(ticks: list[float], lab: Lab) -> Any:
    async def main(_: Process) -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(round(lab.now, 6))

    return main


def test_a_paused_process_goes_on_with_what_was_due() -> None:
    async def scenario(lab: Lab) -> None:
        ticks: list[float] = []
        process = lab.start("a", ticker(ticks, lab))
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(10)
        process.resume()
        await asyncio.sleep(2)
        assert ticks == [1, 11.5, 12.5]

    simulate(scenario, 0)


def test_a_killed_process_does_nothing_more_and_its_call_is_carried_out() -> None:
    async def scenario(lab: Lab) -> None:
        ended: list[str] = []

        async def main(process: Process) -> None:
            try:
                with lab.history.operation("write", "k", 1):
                    await lab.far(process).put("k", 1)
            finally:
                ended.append(process.name)

        process = lab.start("a", main)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lab.kill(process)
        await asyncio.sleep(1)
        assert (ended, lab.processes) == ([], [])
        assert await lab.server.get("k") == 1

    assert simulate(scenario, 0)[0].ended == float("inf")


def test_a_timer_that_was_due_while_paused_can_still_be_cancelled() -> None:
    async def scenario(lab: Lab) -> None:
        fired: list[str] = []

        async def main(_: Process) -> None:
            loop = asyncio.get_running_loop()
            second: list[asyncio.TimerHandle] = []
            loop.call_later(1, lambda: second[0].cancel())
            second.append(loop.call_later(2, fired.append, "second"))

        process = lab.start("a", main)
        await asyncio.sleep(0.5)
        process.pause()
        await asyncio.sleep(5)
        process.resume()
        await asyncio.sleep(5)
        assert fired == []

    simulate(scenario, 0)


def test_calls_on_a_broken_path_fail() -> None:
    async def scenario(lab: Lab) -> None:
        async def main(process: Process) -> None:
            far = lab.far(process)
            await far.put("k", 1)
            process.calls = Path.CUT
            with pytest.raises(StoreUnavailable):
                await far.get("k")
            process.calls = Path.SILENT
            began = lab.now
            with pytest.raises(StoreTimeout):
                await far.get("k")
            assert lab.now == pytest.approx(began + 5)
            process.calls = Path.UP
            assert await far.get("k") == 1

        lab.start("a", main)
        await lab.run(10)

    simulate(scenario, 0)


def test_the_error_of_a_process_ends_the_run() -> None:
    async def scenario(lab: Lab) -> None:
        async def main(_: Process) -> None:
            raise ValueError("in the process")

        lab.start("a", main)
        await lab.run(1)

    with pytest.raises(ValueError, match="in the process"):
        simulate(scenario, 0)


def test_the_error_of_a_callback_fails_the_simulation() -> None:
    async def scenario(_: Lab) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        simulate(scenario, 0)


def test_each_process_has_its_own_wall_clock() -> None:
    async def scenario(lab: Lab) -> None:
        async def main(process: Process) -> None:
            await process.clock.sleep(1e9)

        first, second = lab.start("a", main), lab.start("b", main)
        await asyncio.sleep(1)
        first.clock.jump(-100)
        assert second.clock.time() - first.clock.time() == 100
        assert second.clock.monotonic() == first.clock.monotonic() == lab.now

    simulate(scenario, 0)
