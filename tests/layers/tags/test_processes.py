"""Simulated processes with tags over one far store: nothing that was invalidated is served late."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvwrap import MemoryStore, StoreUnavailable, Tags, stack
from kvwrap.testing.lab import Lab, Process, explore, faults, older_reads
from tests.conftest import SOAK

FAULTS = [
    faults.pause, faults.crash, faults.cut_link, faults.silence_link, faults.isolate,
    faults.set_clock,
]  # fmt: skip
BOUND = 1.0

Make = Callable[[Lab, Process], Any]


def bare(lab: Lab, process: Process) -> Any:
    return stack().tags().over(lab.far(process))


def hashed(lab: Lab, process: Process) -> Any:
    return stack().tags().hash_keys(b"s" * 32).prefix_key("app:").over(lab.far(process))


def with_near(lab: Lab, process: Process) -> Any:
    inside = stack().read_through(lambda: MemoryStore(clock=process.clock), bound=BOUND)
    return (stack().tags() + inside).over(lab.far(process))


def processes(make: Make, kinds: Any, bound: float = BOUND, seconds: float = 8) -> Any:
    """Return a scenario: what is cached is outside of the store, and its changes are tagged."""

    async def scenario(lab: Lab) -> None:
        numbers = itertools.count(1)
        truth = dict.fromkeys("kl", 0)
        for key, value in truth.items():
            with lab.history.operation("write", key, value, "before"):
                pass

        async def work(store: Any) -> None:
            rng, history, tags = lab.rng, lab.history, store.find(Tags)
            while True:
                await asyncio.sleep(rng.random() / 8)
                key = rng.choice("kl")

                async def load(key: str = key) -> int:
                    value = truth[key]
                    await asyncio.sleep(rng.random() / 4)
                    return value

                with suppress(StoreUnavailable):
                    if (draw := rng.random()) < 0.1:
                        with history.operation("write", key, next(numbers)) as write:
                            truth[key] = write.value
                            await (tags.clear() if draw < 0.02 else tags.invalidate(key))
                    elif draw < 0.25:
                        with history.operation("read", key) as read:
                            read.value = await store.get_or_put(key, load, tags=[key, "all"])
                    elif draw < 0.4:
                        with history.operation("read", key) as read:
                            read.value = await store.get_or_put(
                                key, load, tags=lambda _, key=key: [key]
                            )
                    elif draw < 0.5:
                        other = "l" if key == "k" else "k"

                        async def load_many(keys: list[str]) -> dict[str, int]:
                            found = {key: truth[key] for key in keys}
                            await asyncio.sleep(rng.random() / 4)
                            return found

                        await store.get_or_put_many([key, other], load_many, tags=["k", "l"])
                    else:
                        with history.operation("read", key) as read:
                            read.value = await store.get(key)
                            if read.value is None:
                                read.kind = "miss"

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


@pytest.mark.parametrize("make", [bare, hashed, with_near])
def test_nothing_invalidated_is_served_after_the_bound(make: Make) -> None:
    explore(processes(make, FAULTS), runs=5_000 if SOAK else 25)


def test_the_lab_would_find_it() -> None:
    with pytest.raises(AssertionError, match="had replaced that"):
        explore(processes(bare, FAULTS, bound=BOUND / 4), runs=200)


def test_without_changes_told_the_bound_holds_too() -> None:
    def lossy(lab: Lab, process: Process) -> Any:
        store = lab.far(process)
        store.capabilities -= {"watch"}
        return stack().tags().over(store)

    explore(processes(lossy, [faults.pause, faults.isolate]), runs=500 if SOAK else 15)
