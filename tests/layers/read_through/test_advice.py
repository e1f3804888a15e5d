"""The estimated hit rates of near stores of other sizes, compared with stores that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import pytest

from benchmarks.traces import traces
from kvwrap import MemoryStore, ReadThrough, Store, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.limits import Limits, Simulation
from kvwrap.layers.read_through.advice import Advice
from kvwrap.testing import ManualClock

TRACES = {name: keys[:30_000] for name, keys in traces().items()}
FACTORS = (0.5, 2, 10)
POINTS = 0.03


class Everything(MemoryStore):
    """Has an entry for every key, of a size that depends on the key."""

    async def read(self, collection: str | None, keys: Sequence[str]) -> list[Entry | None]:
        return [value(int(key) * 7919 % 1000) for key in keys]


def value(size: int) -> Entry:
    return Entry(b'"%b"' % (b"1" * size), codec.JSON, 0.0, None, 1)


class Recording(MemoryStore):
    """A near store that tells which simulations were made."""

    def __init__(self, **limits: int) -> None:
        super().__init__(**limits)
        self.simulations: list[Simulation] = []

    @property
    def limits(self) -> Limits | None:
        limits = super().limits
        assert limits is not None

        def simulate(max_entries: float | None, max_bytes: float | None) -> Simulation:
            simulation = limits.simulate(max_entries, max_bytes)
            self.simulations.append(simulation)
            return simulation

        return Limits(limits.max_entries, limits.max_bytes, simulate)

    @property
    def simulated(self) -> int:
        return sum(map(len, self.simulations))


def tier(near: Store, **options: float) -> Store:
    return stack().read_through(near, **options).over(Everything())


async def read(store: Store, keys: Iterable[int]) -> None:
    layer = store.find(ReadThrough)
    for key in keys:
        await layer.read(None, (str(key),))


async def hit_rate(make: Callable[[], Store], keys: Sequence[int], reads: int) -> float:
    """Return the hit rate of a tier in the last reads."""
    store = tier(make())
    await read(store, keys[:-reads])
    before = store.find(ReadThrough).snapshot().near_hits
    await read(store, keys[-reads:])
    return (store.find(ReadThrough).snapshot().near_hits - before) / reads


def missing(store: Store) -> int | None:
    (*_, advisor) = store.find(ReadThrough).measured()
    return advisor.reads_missing


def advice_of(store: Store) -> Advice:
    advice = store.find(ReadThrough).advice()
    assert advice is not None
    return advice


@pytest.mark.parametrize("name", TRACES)
async def test_estimates_are_within_three_points(name: str) -> None:
    keys = TRACES[name]
    store = tier(MemoryStore(max_entries=1000))
    await read(store, keys)
    advice = advice_of(store)
    assert [(each.factor, each.max_entries, each.max_bytes) for each in advice.sizes] == [
        (0.5, 500, None),
        (2, 2000, None),
        (10, 10_000, None),
    ]
    for each in advice.sizes:

        def make(size: int | None = each.max_entries) -> Store:
            return MemoryStore(max_entries=size)

        assert abs(each.hit_rate - await hit_rate(make, keys, advice.reads)) < POINTS
    own = await hit_rate(lambda: MemoryStore(max_entries=1000), keys, advice.reads)
    assert advice.hit_rate == pytest.approx(own, abs=1e-4)


async def test_a_limit_on_bytes() -> None:
    keys = TRACES["zipf"]
    store = tier(MemoryStore(max_bytes=500_000))
    await read(store, keys)
    advice = advice_of(store)
    assert [each.max_bytes for each in advice.sizes] == [250_000, 1_000_000, 5_000_000]
    for each in advice.sizes:

        def make(size: int | None = each.max_bytes) -> Store:
            return MemoryStore(max_bytes=size)

        assert abs(each.hit_rate - await hit_rate(make, keys, advice.reads)) < POINTS
        assert 0 < each.sampled < 1


@pytest.mark.parametrize("limits", [{"max_entries": 1000}, {"max_bytes": 500_000}])
async def test_nothing_is_told_before_enough_was_read(limits: dict[str, int]) -> None:
    store = tier(MemoryStore(**limits))
    assert store.find(ReadThrough).advice() is None
    await read(store, TRACES["zipf"][:999])
    assert store.find(ReadThrough).advice() is None
    assert "by size" not in store.explain()
    await read(store, TRACES["zipf"])
    assert "by size: half " in store.explain()


async def test_it_is_told_how_many_reads_are_missing() -> None:
    store = tier(MemoryStore(max_entries=1000))
    assert "other sizes" not in store.explain(), "before anything is read"
    assert missing(store) == 1000
    await read(store, [1] * 300)
    note = "hit rates of other sizes are known after 700 more reads, at least"
    assert note in store.explain()
    assert missing(store) == 700
    await read(store, [1] * 700)
    assert "other sizes" not in store.explain()
    assert missing(store) == 0
    assert missing(tier(MemoryStore())) is None


@pytest.mark.parametrize("near", [{"max_entries": 10_000}, {"max_bytes": 500_000}])
async def test_the_reads_that_are_missing_suffice_unless_more_is_found(
    near: dict[str, int],
) -> None:
    """As many reads do at last, of whatever the estimate lacked: a share, or a size of copies."""
    keys = iter(TRACES["zipf"] * 10)
    store = tier(MemoryStore(**near))
    while (left := missing(store)) != 0:
        assert left is not None
        assert store.find(ReadThrough).advice() is None
        await read(store, islice(keys, left))
    assert store.find(ReadThrough).advice() is not None


@pytest.mark.parametrize(
    "near",
    [
        MemoryStore,
        lambda: MemoryStore(max_entries_per_collection=10),
        lambda: stack().compress().over(MemoryStore(max_bytes=1000)),
    ],
)
async def test_nothing_is_told_of_a_store_that_cannot_be_simulated(
    near: Callable[[], Store],
) -> None:
    async with tier(near()) as store:
        for _ in range(12):
            await store.get_many([str(key) for key in range(100)])
        assert store.find(ReadThrough).snapshot().misses >= 100
        assert store.find(ReadThrough).advice() is None


async def test_a_near_store_with_layers_and_a_limit_on_entries() -> None:
    keys = TRACES["loop"][:20_000]
    store = tier(stack().prefix_key("near-").over(MemoryStore(max_entries=1000)))
    await read(store, keys)
    alone = tier(MemoryStore(max_entries=1000))
    await read(alone, keys)
    for ours, theirs in zip(advice_of(store).sizes, advice_of(alone).sizes, strict=True):
        # Each has a standard error of up to 0.02. Every hit under layers is simulated, and alone
        # few of them are.
        assert ours.hit_rate == pytest.approx(theirs.hit_rate, abs=0.02)


async def test_reads_in_batches_count_like_single_ones() -> None:
    keys = TRACES["zipf"][:20_000]
    single, batched = (tier(MemoryStore(max_entries=1000)) for _ in range(2))
    await read(single, keys)
    for start in range(0, len(keys), 4):
        await batched.get_many([str(key) for key in keys[start : start + 4]])
    expected, advice = advice_of(single), advice_of(batched)
    assert advice.hit_rate == pytest.approx(expected.hit_rate, abs=0.02)
    for ours, theirs in zip(advice.sizes, expected.sizes, strict=True):
        assert ours.hit_rate == pytest.approx(theirs.hit_rate, abs=0.02)


async def test_estimates_follow_the_traffic(clock: ManualClock) -> None:
    near = MemoryStore(max_entries=200, clock=clock)
    store = stack().read_through(near).over(Everything(clock=clock))
    await read(store, [number % 50 for number in range(21_000)])
    assert advice_of(store).hit_rate > 0.99
    clock.advance(60)
    changed = clock.time()
    await read(store, [number % 1000 for number in range(45_000)])
    advice = advice_of(store)
    assert advice.since >= changed
    assert advice.hit_rate < 0.3
    assert advice.sizes[2].hit_rate > 0.9


async def test_simulations_do_not_grow() -> None:
    near = Recording(max_entries=100_000)
    store = tier(near)
    most = 3 * 300
    for part in range(3):
        await read(store, range(part * 10_000, (part + 1) * 10_000))
        assert near.simulated <= most
    assert len(near.simulations) == 3


@pytest.mark.parametrize(
    ("later", "begins_again"),
    [(10, True), (400, True), (600, False), (1600, False), (2500, True)],
)
async def test_simulations_of_bytes_follow_the_size_of_values(
    later: int, begins_again: bool
) -> None:
    near = Recording(max_bytes=200_000)
    sizes = {"now": 1000}

    class Sized(MemoryStore):
        async def read(self, collection: str | None, keys: Sequence[str]) -> list[Entry | None]:
            return [value(sizes["now"]) for _ in keys]

    store = stack().read_through(near).over(Sized())
    await read(store, TRACES["zipf"][:1000])
    assert len(near.simulations) == 3
    sizes["now"] = later
    await read(store, range(1_000_000, 1_022_000))
    assert (len(near.simulations) > 3) is begins_again
    assert sum(map(len, near.simulations[-3:])) <= 3 * 3 * 300


async def test_what_ends_copies_ends_them_in_simulations() -> None:
    near = Recording(max_entries=30)
    store = tier(near)
    await read(store, range(12))
    assert near.simulated == 3 * 12
    await store.delete("0")
    await store.delete_many(["1", "2"])
    assert near.simulated == 3 * 9
    await store.delete_where(prefix="1")
    assert near.simulated == 3 * 7
    await store.find(ReadThrough).read("c", ("5",))
    assert near.simulated == 3 * 8
    await store.find(ReadThrough).drop("c")
    assert near.simulated == 3 * 7
    await store.find(ReadThrough).clear()
    assert near.simulated == 0
    await read(store, range(10))
    assert near.simulated == 3 * 10
    await store.destroy()
    assert near.simulated == 0


async def test_copies_whose_ttl_is_over_are_misses_at_every_size(clock: ManualClock) -> None:
    near = MemoryStore(max_entries=100, clock=clock)
    store = stack().read_through(near, ttl=10).over(Everything(clock=clock))
    for number in range(3000):
        await read(store, [number % 150])
        clock.advance(0.1)
    advice = advice_of(store)
    assert advice.hit_rate == 0
    assert [each.hit_rate for each in advice.sizes] == [0, 0, 0]


async def test_copies_that_are_refreshed_are_hits_at_every_size(clock: ManualClock) -> None:
    near = MemoryStore(max_entries=100, clock=clock)
    layers = stack().read_through(near, ttl=10, refresh_ahead=0.5)
    async with layers.over(Everything(clock=clock)) as store:
        for number in range(3000):
            await read(store, [number % 40])
            await clock.settle()
            clock.advance(0.1)
        advice = advice_of(store)
    assert advice.hit_rate > 0.98
    assert [each.hit_rate for each in advice.sizes] == pytest.approx([advice.hit_rate] * 3)


async def test_a_hit_that_changes_no_estimate_is_not_simulated() -> None:
    used = []
    near = Recording(max_entries=100)
    store = tier(near)
    for simulation in near.simulations:
        use = simulation.use
        simulation.use = lambda name, now, use=use: used.append(name) or use(name, now)  # type: ignore
    await read(store, [1, 1])
    before = len(used)
    assert before
    await read(store, [1] * 100)
    assert len(used) == before
