"""`store.cached()`: results of async functions cached in a store."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import inspect
import uuid
from decimal import Decimal
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import ConfigurationError, InvalidKey, InvalidTTL, MemoryStore, stack


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


CALLS = []


def counting(store, **options):
    CALLS.clear()

    @store.cached(**options)
    async def double(number, *, times=2):
        """Doubles."""
        CALLS.append((number, times))
        return number * times

    return double, CALLS


async def test_a_result_is_cached_for_its_arguments(store):
    double, calls = counting(store)
    assert [await double(2), await double(2), await double(3)] == [4, 4, 6]
    assert calls == [(2, 2), (3, 2)]


async def test_arguments_by_position_and_by_name_are_the_same(store):
    double, calls = counting(store)
    await double(2)
    await double(number=2)
    await double(2, times=2)
    assert len(calls) == 1


async def test_results_expire(store, clock):
    double, calls = counting(store, ttl=10)
    await double(2)
    clock.advance(10)
    await double(2)
    assert len(calls) == 2


async def test_one_call_at_a_time_for_one_key(store):
    started, finish = [], asyncio.Event()

    @store.cached(key=str)
    async def slow(number):
        started.append(number)
        await finish.wait()
        return number

    tasks = [asyncio.create_task(slow(number)) for number in (1, 1, 1, 2)]
    for _ in range(10):
        await asyncio.sleep(0)
    finish.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1, 2]
    assert sorted(started) == [1, 2]


async def test_a_cancelled_call_does_not_block_the_others(store):
    started, finish = [], asyncio.Event()

    @store.cached(key=str)
    async def slow(number):
        started.append(number)
        await finish.wait()
        return number

    first = asyncio.create_task(slow(1))
    second = asyncio.create_task(slow(1))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    finish.set()
    assert await second == 1
    assert first.cancelled() or first.cancelling()
    assert started == [1, 1]


async def test_none_is_a_result(store):
    calls = []

    @store.cached(key=lambda: "nothing")
    async def nothing():
        calls.append(1)

    assert await nothing() is None
    assert await nothing() is None
    assert calls == [1]


async def test_exceptions_are_not_cached(store):
    calls = []

    @store.cached(key=lambda: "fails")
    async def fails():
        calls.append(1)
        raise LookupError("no")

    for _ in range(2):
        with pytest.raises(LookupError):
            await fails()
    assert len(calls) == 2
    assert await store.keys() == []


async def test_invalidate_deletes_one_result(store):
    double, calls = counting(store, collection="results")
    await double(2)
    await double(3)
    assert await double.invalidate(number=2)
    assert not await double.invalidate(2)
    await double(2)
    await double(3)
    assert calls == [(2, 2), (3, 2), (2, 2)]
    assert sorted(await store.keys("results")) == [double.key(2), double.key(3)]


async def test_a_hit_and_a_miss_return_the_same(store):
    @store.cached()
    async def pair():
        return (1, 2)

    assert await pair() == await pair() == [1, 2]


async def test_results_can_be_of_a_model(store):
    calls = []

    @store.cached(model=Point, key=str)
    async def point(x):
        calls.append(x)
        return Point(x, 0)

    assert await point(1) == await point(1) == Point(1, 0)
    assert calls == [1]


async def test_a_change_of_a_result_by_its_caller_does_not_change_the_cache(store):
    @store.cached()
    async def listed():
        return [1]

    (await listed()).append(2)
    assert await listed() == [1]


def test_the_function_keeps_its_name_signature_and_docs(store):
    double, _ = counting(store)
    assert double.__name__ == "double"
    assert double.__doc__ == "Doubles."
    assert inspect.iscoroutinefunction(double)
    assert list(inspect.signature(double).parameters) == ["number", "times"]
    assert double.key(2).endswith("double(2, 2)")


async def test_it_works_through_layers():
    store = stack().prefix_collection("cache-").clamp_ttl(maximum=60).over(MemoryStore())
    double, calls = counting(store, collection="c")
    await double(2)
    await double(2)
    assert len(calls) == 1


async def test_functions_with_other_names_do_not_share(store):
    @store.cached()
    async def one(number):
        return 1

    @store.cached()
    async def two(number):
        return 2

    assert [await one(0), await two(0)] == [1, 2]


DIFFERENT = [
    1, 1.0, True, "1", b"1", None, "None", -1, 0, 0.0, False, "", (), [], {}, set(), (1,), [1],
    {1}, {"1": 1}, {1: 1}, {1: "1"}, ("1", "2"), ("1, 2",), ("1', '2",), [[1], 2], [1, [2]],
    Colour.RED, Colour.BLUE, Decimal(1), uuid.UUID(int=1), str(uuid.UUID(int=1)),
    PurePosixPath("1"), datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.time(1), datetime.timedelta(1),
    Point(1, 2), Point(2, 1), "é", "\ud800", "x" * 500, "x" * 501,
]  # fmt: skip


def test_different_arguments_have_different_keys(store):
    double, _ = counting(store)
    keys = [double.key(value) for value in DIFFERENT]
    assert len(set(keys)) == len(keys)
    assert all(len(key) < 250 for key in keys)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(_plain, _plain)
def test_keys_are_equal_only_for_equal_arguments(one, other):
    double, _ = counting(MemoryStore())
    equal = double.key(one) == double.key(other)
    assert equal == (repr(_ordered(one)) == repr(_ordered(other)))


def _ordered(value):
    if isinstance(value, dict):
        return dict(sorted((key, _ordered(item)) for key, item in value.items()))
    return [_ordered(item) for item in value] if isinstance(value, list) else value


async def test_arguments_without_a_text_are_refused(store):
    double, calls = counting(store)
    with pytest.raises(InvalidKey, match=r"`number` of .*double is an object.*key="):
        await double(object())
    assert calls == []


async def test_a_key_function_of_the_user(store):
    double, calls = counting(store, key=lambda number, **_: f"double-{type(number).__name__}")
    await double(1)
    await double(2)
    assert calls == [(1, 2)]
    assert await store.keys() == ["double-int"]


async def test_methods_of_what_has_no_text_need_a_key(store):
    class Wrong:
        @store.cached()
        async def double(self, number): ...

    with pytest.raises(InvalidKey, match=r"of .*double is a Wrong.*key="):
        await Wrong().double(1)

    class Right:
        def __init__(self, name):
            self.name = name

        @store.cached(key=lambda self, number: f"{self.name}-{number}")
        async def double(self, number):
            return f"{self.name} {number}"

    assert await Right("a").double(1) == "a 1"
    assert await Right("b").double(1) == "b 1"
    assert await Right.double.invalidate(Right("a"), 1)


def test_invalid_arguments_are_refused(store):
    with pytest.raises(ConfigurationError, match="async"):
        store.cached()(len)
    with pytest.raises(InvalidTTL):
        store.cached(ttl=0)
    with pytest.raises(InvalidKey):
        store.cached(collection="")
    with pytest.raises(ConfigurationError, match="function"):
        store.cached(key="user")
