"""Chaos injects the faults that it is asked for, at the given rates, the same in every run."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import (
    Chaos,
    ConfigurationError,
    KvwrapError,
    MemoryStore,
    SQLiteStore,
    StackWarning,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    stack,
)
from kvwrap.testing import ManualClock


def chaotic(clock, *arguments, **options):
    return stack().chaos(*arguments, **options).over(MemoryStore(clock=clock))


async def put_all(store, number=400):
    outcomes = []
    for step in range(number):
        try:
            await store.put(str(step), step)
            outcomes.append("ok")
        except KvwrapError as error:
            outcomes.append(f"{type(error).__name__}: {error.message}")
    return outcomes


async def test_a_seed_determines_the_faults():
    async def run(seed):
        options = {"failure_rate": 0.3, "lost_rate": 0.2}
        return await put_all(chaotic(ManualClock(), seed, **options))

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


async def test_faults_occur_at_the_given_rates(clock):
    store = chaotic(clock, failure_rate=0.3, lost_rate=0.2)
    outcomes = await put_all(store, 4000)
    before = sum("before it was done" in outcome for outcome in outcomes)
    after = sum("its response was lost" in outcome for outcome in outcomes)
    assert before == pytest.approx(1200, rel=0.1)
    assert after == pytest.approx(800, rel=0.1)
    chaos = store.find(Chaos)
    assert (chaos.calls, chaos.faults) == (4000, before + after)


async def test_only_a_lost_operation_has_been_carried_out(clock):
    store = chaotic(clock, failure_rate=0.4, lost_rate=0.4)
    outcomes = await put_all(store)
    for step, outcome in enumerate(outcomes):
        exists = await store.base.get(str(step)) is not None
        assert exists == ("before" not in outcome)


async def test_without_rates_nothing_happens(clock):
    store = chaotic(clock)
    assert set(await put_all(store)) == {"ok"}


async def test_a_batch_can_stop_half_way_and_names_the_keys_that_succeeded(clock):
    store = chaotic(clock, partial_rate=1)
    keys = list("abcdefgh")
    sizes = set()
    for _ in range(20):
        with pytest.raises(StoreUnavailable) as caught:
            await store.put_many(keys, keys)
        error = caught.value
        assert await store.base.get_many(keys) == [
            key if key in error.succeeded else None for key in keys
        ]
        assert list(error.succeeded) == keys[: len(error.succeeded)]
        sizes.add(len(error.succeeded))
        await store.base.destroy()
    assert len(sizes) > 4
    assert max(sizes) < len(keys)
    await store.put("a", 1)  # a single write cannot stop half-way


async def test_only_the_named_operations_are_affected(clock):
    store = chaotic(clock, failure_rate=1, operations=["write"])
    await store.get("a")
    with pytest.raises(StoreUnavailable):
        await store.put("a", 1)
    assert store.find(Chaos).calls == 1


async def test_errors_are_drawn_from_those_given_and_name_the_key(clock):
    store = chaotic(clock, failure_rate=1, errors=[StoreFull, StoreTimeout, RuntimeError])
    classes = set()
    for _ in range(30):
        with pytest.raises((StoreUnavailable, RuntimeError)) as caught:
            await store.get("a", collection="c")
        classes.add(type(caught.value))
        if isinstance(caught.value, KvwrapError):
            error = caught.value
            assert (error.store, error.collection, error.key) == ("Chaos", "c", "a")
    assert classes == {StoreFull, StoreTimeout, RuntimeError}


async def test_delays_before_and_after_pass_on_the_clock(clock):
    store = chaotic(clock, delay=2, reply_delay=3)
    task = asyncio.create_task(store.put("a", 1))
    await clock.run(1.9)
    assert await store.base.get("a") is None
    await clock.run(0.1)
    assert await store.base.get("a") == 1
    await clock.run(2.9)
    assert not task.done()
    await clock.run(0.1)
    assert task.done()


async def test_delays_are_drawn_between_their_bounds(clock):
    store = chaotic(clock, delay=(1, 3))
    durations = []
    for _ in range(50):
        began = clock.monotonic()
        task = asyncio.create_task(store.get("a"))
        while not task.done():
            await clock.run(0.05)
        durations.append(clock.monotonic() - began)
    assert min(durations) >= 1
    assert max(durations) <= 3.1
    assert max(durations) - min(durations) > 1


async def test_down_makes_the_backend_unavailable(clock):
    store = chaotic(clock)
    store.find(Chaos).down = True
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    store.find(Chaos).down = False
    await store.get("a")


async def test_the_backend_goes_down_after_a_number_of_operations(clock):
    store = chaotic(clock, fail_after=2)
    assert [outcome[:2] for outcome in await put_all(store, 4)] == ["ok", "ok", "St", "St"]
    store.find(Chaos).down = False
    await store.get("a")


async def test_faults_do_not_depend_on_concurrent_operations():
    async def run(step):
        clock = ManualClock()
        store = chaotic(clock, failure_rate=0.5, delay=(0, 1))
        tasks = [asyncio.create_task(store.get(str(number))) for number in range(50)]
        for _ in range(int(2 / step)):
            await clock.run(step)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [isinstance(result, Exception) for result in results]

    assert await run(0.1) == await run(1)


async def test_over_real_data_it_is_reported(tmp_path):
    with pytest.warns(StackWarning, match="chaos-over-real-data"):
        store = stack().chaos().over(SQLiteStore(tmp_path / "s.db"))
    await store.close()
    assert stack().chaos().over(MemoryStore()).findings == ()


@pytest.mark.parametrize(
    "options",
    [
        {"failure_rate": -0.1},
        {"failure_rate": 1.1},
        {"failure_rate": "1"},
        {"lost_rate": float("nan")},
        {"failure_rate": 0.6, "lost_rate": 0.6},
        {"delay": -1},
        {"delay": (2, 1)},
        {"delay": (1, 2, 3)},
        {"reply_delay": float("inf")},
        {"operations": ["raed"]},
        {"operations": "read"},
        {"errors": ()},
        {"errors": [KeyboardInterrupt]},
        {"fail_after": -1},
        {"seed": None},
    ],
)
def test_invalid_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        Chaos(**options)
