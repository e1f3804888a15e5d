"""The simulation of a store holds what the store holds."""

from __future__ import annotations

from math import inf

import pytest

from benchmarks.traces import traces
from kvwrap import MemoryStore
from kvwrap.core.entry import Entry
from kvwrap.core.limits import Outline
from kvwrap.core.primitives import KeyRange
from kvwrap.testing import ManualClock

TRACES = {name: keys[:10_000] for name, keys in traces().items()}


@pytest.mark.parametrize("limit", [{"max_entries": 300}, {"max_bytes": 30_000}])
@pytest.mark.parametrize("name", TRACES)
def test_it_finds_what_the_store_finds(name: str, limit: dict[str, int]) -> None:
    store = MemoryStore(**limit)
    limits = store.limits
    assert limits is not None
    simulation = limits.simulate(limits.max_entries, limits.max_bytes)
    for number in TRACES[name]:
        key, size = str(number), number % 200
        is_hit = store.look_up(None, key) is not None
        assert simulation.use((None, key), 0.0) == is_hit
        if not is_hit or number % 50 == 0:
            store.write_one(None, key, Entry(bytes(size), b"", 0.0, None, 1))
            simulation.put(Outline(None, key, size, inf, inf), 0.0)
        if number % 97 == 0:
            store.remove_one(None, key)
            simulation.remove((None, key))
        assert len(simulation) == len(store)


def test_what_has_expired_gives_way(clock: ManualClock) -> None:
    store = MemoryStore(max_entries=10)
    assert store.limits is not None
    simulation = store.limits.simulate(10, None)
    for number in range(10):
        simulation.put(Outline(None, str(number), 1, 5.0, 5.0 if number % 2 else 9.0), 0.0)
    simulation.put(Outline(None, "new", 1, 20.0, 20.0), 6.0)
    assert len(simulation) == 6
    assert not simulation.use((None, "0"), 6.0)  # stale, and still there
    assert simulation.use((None, "new"), 6.0)


def test_what_is_put_again_has_its_new_size_and_times() -> None:
    store = MemoryStore(max_bytes=100)
    assert store.limits is not None
    simulation = store.limits.simulate(None, 100)
    simulation.put(Outline(None, "a", 10, 5.0, 5.0), 0.0)
    simulation.put(Outline(None, "a", 95, inf, inf), 1.0)
    assert simulation.use((None, "a"), 6.0)
    simulation.put(Outline(None, "b", 10, inf, inf), 6.0)
    assert len(simulation) == 1


def test_ranges_and_everything_can_be_dropped() -> None:
    store = MemoryStore(max_entries=10)
    assert store.limits is not None
    simulation = store.limits.simulate(10, None)
    for collection, key in [(None, "a1"), (None, "a2"), (None, "b"), ("c", "a1")]:
        simulation.put(Outline(collection, key, 1, inf, inf), 0.0)
    simulation.drop(None, KeyRange(prefix="a"))
    assert len(simulation) == 2
    simulation.drop_all()
    assert len(simulation) == 0
    assert not simulation.use(("c", "a1"), 0.0)
