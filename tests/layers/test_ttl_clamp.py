"""Which TTLs TTLClamp sets."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidTTL,
    MemoryStore,
    Passthrough,
    StackWarning,
    Store,
    TTLClamp,
    stack,
)

BOUNDS = {"minimum": 60, "maximum": 3600, "default": 600}


def clamping(clock, **options):
    return stack().clamp_ttl(**options).over(MemoryStore(clock=clock))


async def remaining(store, key="a"):
    return (await store.ttl(key))[1]


@pytest.mark.parametrize(
    ("options", "ttl", "expected"),
    [
        (BOUNDS, 1, 60),
        (BOUNDS, 100, 100),
        (BOUNDS, timedelta(minutes=5), 300),
        (BOUNDS, 10_000, 3600),
        (BOUNDS, None, 600),
        ({"minimum": 60}, None, None),
        ({"minimum": 60}, 5, 60),
        ({"maximum": 60}, None, 60),
        ({"maximum": 60}, 61, 60),
        ({"default": timedelta(seconds=5)}, None, 5),
        ({"default": 5}, 500, 500),
        ({}, None, None),
        ({}, 5, 5),
    ],
)
async def test_ttls_are_clamped_to_the_bounds(clock, options, ttl, expected):
    store = clamping(clock, **options)
    await store.put("a", 1, ttl=ttl)
    await store.put_many(["b"], [1], ttl=ttl)
    await store.put_if_absent("c", 1, ttl=ttl)
    await store.put("d", 1, ttl=1000)
    await store.expire("d", ttl)
    for key in "abcd":
        assert await remaining(store, key) == expected


@given(
    ttl=st.none() | st.floats(1e-3, 1e6),
    minimum=st.none() | st.floats(1, 1e3),
    more=st.none() | st.floats(0, 1e3),
    jitter=st.floats(0, 0.99),
    seed=st.integers(),
)
def test_a_ttl_is_never_outside_the_bounds(ttl, minimum, more, jitter, seed):
    maximum = None if more is None else (minimum or 1) + more
    layer = TTLClamp(minimum=minimum, maximum=maximum, jitter=jitter, rng=random.Random(seed))
    clamped = layer.clamped(ttl)
    if clamped is None:
        assert ttl is None
        assert maximum is None
        return
    assert clamped >= (minimum or 0)
    assert maximum is None or clamped <= maximum
    longest = maximum if ttl is None or (maximum is not None and ttl > maximum) else ttl
    assert clamped >= max(minimum or 0, longest * (1 - jitter)) * (1 - 1e-9)
    assert clamped <= max(minimum or 0, longest)


async def test_with_jitter_every_key_of_a_batch_has_its_own_ttl(clock):
    store = clamping(clock, maximum=1000, jitter=0.2)
    keys = [str(number) for number in range(200)]
    await store.put_many(keys, keys)
    ends = [left for _, left in await store.ttl_many(keys)]
    assert len(set(ends)) == 200
    assert 800 <= min(ends) < 820
    assert 980 < max(ends) <= 1000


async def test_jitter_depends_only_on_its_source_of_randomness(clock):
    async def ends():
        store = clamping(clock, maximum=1000, jitter=0.5, rng=random.Random(7))
        await store.put_many(["a", "b"], [1, 2])
        return [left for _, left in await store.ttl_many(["a", "b"])]

    assert await ends() == await ends()


@pytest.mark.parametrize("jitter", [0.0, 0.5])
async def test_an_increment_keeps_the_exact_expiry(clock, jitter):
    store = clamping(clock, minimum=60, maximum=3600, jitter=jitter)
    await store.increment("a", ttl=100)
    end = clock.time() + await remaining(store)
    while clock.time() + 5 < end:
        clock.advance(5)
        await store.increment("a")
        assert clock.time() + await remaining(store) == end
    clock.advance(5)
    assert await store.get("a") is None


async def test_a_compare_and_put_with_a_ttl_of_its_own_is_clamped(clock):
    store = clamping(clock, **BOUNDS)
    await store.put("a", 1, ttl=100)
    version = (await store.get_versioned("a")).version
    assert await store.compare_and_put("a", 2, version, ttl=1)
    assert await remaining(store) == 60
    version = (await store.get_versioned("a")).version
    assert await store.compare_and_put("a", 2, version)
    assert await remaining(store) == 600


async def test_a_conditional_write_that_needs_no_clamping_reads_nothing(clock):
    class Counting(Passthrough):
        def __init__(self):
            self.reads = 0

        async def read(self, *arguments):
            self.reads += 1
            return await self.inner.read(*arguments)

    store = stack().clamp_ttl(**BOUNDS).layer(Counting()).over(MemoryStore(clock=clock))
    await store.increment("a", ttl=100.1)
    clock.advance(0.3)
    await store.increment("a")
    assert store.find(Counting).reads == 2  # one for each increment


async def test_the_remaining_time_counts_and_not_the_age_of_the_entry(clock):
    """A near store may receive an entry that is old in the far store."""
    far = MemoryStore(clock=clock)
    await far.put("a", 1, ttl=3600)
    clock.advance(1800)
    (entry,) = await far.read(None, ["a"])
    near = clamping(clock, maximum=30)
    await near.write(None, ["a"], [entry])
    assert await remaining(near) == 30
    near = clamping(clock, minimum=1)
    await near.write(None, ["a"], [entry])
    assert await remaining(near) == 1800


async def test_expire_without_a_ttl_sets_the_default(clock):
    store = clamping(clock, **BOUNDS)
    await store.put("a", 1)
    assert await store.expire("a", None)
    assert await remaining(store) == 600


def test_over_a_store_that_frees_nothing_it_is_reported(clock):
    class Keeper(Store):
        capabilities = frozenset({Capability.KEYS})

    with pytest.warns(StackWarning, match="expiry-without-end"):
        stack().clamp_ttl(maximum=60).over(Keeper())
    assert clamping(clock, maximum=60).findings == ()


@pytest.mark.parametrize("name", ["minimum", "maximum", "default"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "60", True])
def test_a_bound_that_is_not_a_ttl_is_refused(name, value):
    with pytest.raises(InvalidTTL):
        TTLClamp(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"minimum": 10, "maximum": 9},
        {"minimum": 10, "default": 9},
        {"maximum": 10, "default": 11},
        {"jitter": -0.1},
        {"jitter": 1},
        {"jitter": float("nan")},
        {"jitter": "0.1"},
    ],
)
def test_contradictory_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        TTLClamp(**options)
