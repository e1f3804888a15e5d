"""Simulated processes, each with a near tier over one far store: nothing older than the bound."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvwrap import MemoryStore, ReadThrough, StoreUnavailable, stack
from kvwrap.testing.lab import Lab, Process, explore, faults, older_reads, simulate
from tests.conftest import SOAK

FAULTS = [
    faults.pause, faults.crash, faults.cut_link, faults.silence_link, faults.isolate,
    faults.set_clock,
]  # fmt: skip
BOUND = 0.5

Make = Callable[[Lab, Process], Any]


def near(process: Process) -> Callable[[], MemoryStore]:
    return lambda: MemoryStore(clock=process.clock)


def one_tier(lab: Lab, process: Process, **options: Any) -> Any:
    return stack().read_through(near(process), bound=BOUND, **options).over(lab.far(process))


def hashed(lab: Lab, process: Process) -> Any:
    inside = stack().read_through(near(process), bound=BOUND)
    inside = inside.hash_keys(b"s" * 32).prefix_key("app:")
    return inside.over(lab.far(process))


def two_tiers(lab: Lab, process: Process) -> Any:
    tiers = stack().read_through(near(process), bound=BOUND).silence("cached-twice")
    return tiers.read_through(near(process), bound=BOUND).over(lab.far(process))


def stale_if_error(lab: Lab, process: Process) -> Any:
    return one_tier(lab, process, refresh_ahead=0.5, ttl=3, negative_ttl=1)


def processes(make: Make, kinds: Any, bound: float = BOUND, seconds: float = 6) -> Any:
    async def scenario(lab: Lab) -> None:
        numbers = itertools.count(1)

        async def work(store: Any) -> None:
            rng, history = lab.rng, lab.history
            while True:
                await asyncio.sleep(rng.random() / 8)
                key = rng.choice("kl")
                with suppress(StoreUnavailable):
                    if (draw := rng.random()) < 0.12:
                        with history.operation("write", key, next(numbers)) as write:
                            await store.put(key, write.value)
                    elif draw < 0.16:
                        with history.operation("write", key):
                            await store.delete(key)
                    else:
                        with history.operation("read", key) as read:
                            if draw < 0.3:
                                read.value, _ = await store.get_many([key, "other"])
                            else:
                                read.value = await store.get(key)

        async def main(process: Process) -> None:
            store = make(lab, process)
            with suppress(StoreUnavailable):
                await store.open()
            await asyncio.gather(*(work(store) for _ in range(3)))

        for name in "ab":
            lab.start(name, main)
        await lab.run(seconds, kinds)
        assert not older_reads(lab.history, bound)

    return scenario


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
@pytest.mark.parametrize("make", [one_tier, hashed, two_tiers, stale_if_error])
def test_nothing_older_than_the_bound(make: Make) -> None:
    explore(processes(make, FAULTS), runs=5_000 if SOAK else 25)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_the_lab_would_find_reads_that_are_older() -> None:
    with pytest.raises(AssertionError, match="had replaced that"):
        explore(processes(one_tier, FAULTS, bound=BOUND / 3), runs=200)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_changes_that_are_never_told_are_seen_after_the_ttl() -> None:
    def lossy(lab: Lab, process: Process) -> Any:
        lab.network.lost = 0.5
        return one_tier(lab, process, ttl=2)

    explore(processes(lossy, [faults.pause], bound=2), runs=10)
    with pytest.raises(AssertionError, match="had replaced that"):
        explore(processes(lossy, [], bound=BOUND), runs=30)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_copies_are_used_and_end_when_they_change() -> None:
    async def scenario(lab: Lab) -> None:
        stores: list[Any] = []

        async def main(process: Process) -> None:
            store = one_tier(lab, process, coherence="watch")
            await store.open()
            stores.append(store)

        for name in "ab":
            lab.start(name, main)
        await lab.run(1)
        first, second = stores
        await first.put("k", 1)
        await asyncio.sleep(BOUND)
        assert await second.get("k") == 1
        await asyncio.sleep(2)
        for _ in range(10):
            assert await second.get("k") == 1
        assert second.find(ReadThrough).snapshot().far_reads == 1
        await first.put("k", 2)
        await asyncio.sleep(BOUND)
        assert await second.get("k") == 2
        assert second.find(ReadThrough).snapshot().far_reads == 2

    simulate(scenario, 1)
