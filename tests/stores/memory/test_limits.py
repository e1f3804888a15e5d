"""The limits hold after every change, whatever came before, and no removed entry stays."""

from __future__ import annotations

import asyncio
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import MemoryStore
from kvwrap.testing import ManualClock

KEYS = [f"key{number}" for number in range(6)]
COLLECTIONS = [None, "c"]

places = st.tuples(st.sampled_from(COLLECTIONS), st.sampled_from(KEYS))
changes = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), places, st.integers(0, 40), st.sampled_from([None, 1, 2, 3, 5, 20])
        ),
        st.tuples(st.just("get"), places),
        st.tuples(st.just("delete"), places),
        st.tuples(st.just("expire"), places, st.sampled_from([None, 1, 4, 9])),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 4.0])),
        st.tuples(st.just("drop"), st.sampled_from(COLLECTIONS)),
        st.tuples(st.just("cull")),
    ),
    max_size=60,
)


class Checked:
    """A bounded store, and what it may hold: the last value of every key, with its expiry."""

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        self.limits = (max_entries or sys.maxsize, max_bytes or sys.maxsize)
        self.clock = ManualClock()
        self.store = MemoryStore(max_entries=max_entries, max_bytes=max_bytes, clock=self.clock)
        self.values: dict[tuple[str | None, str], tuple[str, float]] = {}

    @property
    def is_unlimited(self) -> bool:
        return self.limits == (sys.maxsize, sys.maxsize)

    def expected(self, place: tuple[str | None, str]) -> str | None:
        value, end = self.values.get(place, (None, 0.0))
        return value if end > self.clock.time() else None

    async def apply(self, change: tuple) -> None:  # type: ignore[type-arg]  # of several kinds
        store, clock = self.store, self.clock
        match change:
            case ("put", (collection, key), length, ttl):
                value = "x" * length
                await store.put(key, value, collection=collection, ttl=ttl)
                end = float("inf") if ttl is None else clock.time() + ttl
                self.values[collection, key] = (value, end)
                assert await store.get(key, collection=collection) == value
            case ("get", (collection, key) as place):
                assert await store.get(key, collection=collection) in (None, self.expected(place))
            case ("delete", (collection, key) as place):
                existed = await store.delete(key, collection=collection)
                held = self.expected(place) is not None
                assert existed == held if self.is_unlimited else not existed or held
                self.values.pop(place, None)
            case ("expire", (collection, key) as place, ttl):
                if await store.expire(key, ttl, collection=collection):
                    value = self.expected(place)
                    assert value is not None
                    end = float("inf") if ttl is None else clock.time() + ttl
                    self.values[place] = (value, end)
                else:
                    self.values.pop(place, None)
            case ("advance", seconds):
                clock.advance(seconds)
            case ("drop", collection):
                await store.destroy_collection(collection)
                self.values = {
                    place: value for place, value in self.values.items() if place[0] != collection
                }
            case ("cull",):
                await store.cull()

    async def check(self) -> None:
        assert len(self.store) <= self.limits[0]
        assert self.store.size <= self.limits[1]

    async def check_all(self) -> None:
        await self.store.cull()
        count = size = 0
        for collection in COLLECTIONS:
            keys = await self.store.keys(collection)
            assert keys == sorted(keys)
            entries = [entry for entry in await self.store.read(collection, keys) if entry]
            assert len(entries) == len(keys)
            for key in keys:
                value = await self.store.get(key, collection=collection)
                assert value == self.expected((collection, key)) is not None
            count += len(keys)
            size += sum(len(entry.body) + len(entry.codec) for entry in entries)
        assert len(self.store) == count
        assert self.store.size == (0 if self.limits[1] == sys.maxsize else size)


@given(
    st.sampled_from([(None, None), (1, None), (3, None), (10, None), (None, 60), (5, 100)]), changes
)
@settings(deadline=None)
def test_limits_hold_after_every_change(
    limits: tuple[int | None, int | None], made: list[tuple[object, ...]]
) -> None:
    async def run() -> None:
        checked = Checked(*limits)
        for change in made:
            await checked.apply(change)
            await checked.check()
        await checked.check_all()
        if checked.is_unlimited:
            live = {place for place in checked.values if checked.expected(place) is not None}
            assert len(checked.store) == len(live)

    asyncio.run(run())


async def test_entries_whose_expiry_moved_nearer_count_and_are_evicted(clock: ManualClock) -> None:
    for limits in ({"max_entries": 4}, {"max_bytes": 100}):
        store = MemoryStore(clock=clock, **limits)
        for number in range(20):
            for ttl in (None, 20, 10):
                await store.put(f"k{number}", "x" * 20, ttl=ttl)
            assert len(store) <= 4
        assert len(store) == 4
        assert store.size in (0, 4 * len(b'j"xxxxxxxxxxxxxxxxxxxx"'))


async def test_nothing_refers_to_what_was_removed() -> None:
    clock = ManualClock()
    for limits in ({}, {"max_entries": 50}, {"max_bytes": 2_000}):
        store = MemoryStore(clock=clock, **limits)
        names = [f"{limits} {number}" for number in range(200)]
        before = [sys.getrefcount(name) for name in names]
        for round_number in range(5):
            for name in names:
                await store.put(name, "x" * 20, ttl=5 + round_number % 2)
            for name in names[::3]:
                await store.delete(name)
            clock.advance(1)
        del name  # a reference as well
        clock.advance(10)
        await store.cull()
        assert len(store) == 0
        assert [sys.getrefcount(name) for name in names] == before


async def test_a_write_frees_two_entries_that_have_expired(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=5)
    clock.advance(5)
    await store.put("d", 4)
    assert len(store) == 2
    await store.put("e", 5)
    assert len(store) == 2
