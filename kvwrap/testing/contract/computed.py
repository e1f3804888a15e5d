"""Computed values: `get_or_put` with its options, and stale values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidTTL,
    KeyNotFound,
    Store,
    UnsupportedOperation,
)
from kvwrap.core.lease import RESERVED, record_key
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs, remaining

PLACE: dict[str, Any] = {"collection": "computed"}
TTL = 10
STALE_TTL = 100
STALE: dict[str, Any] = {**PLACE, "ttl": TTL, "stale_ttl": STALE_TTL}


async def _put_stale(store: Store, clock: ManualClock, value: object = "stale") -> None:
    """Put a value under "key" that is over for users, and still kept."""
    made = store.get_or_put("key", lambda: value, **PLACE, ttl=TTL, stale_ttl=STALE_TTL)
    assert await made == value
    clock.advance(TTL)


def _fails() -> object:
    raise LookupError("the factory fails")


async def _until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("the condition never held")


class Computed(Contract):
    """Values are computed when they are missing, and a stale value is missing for all methods."""

    async def test_a_ttl_may_depend_on_the_value(self, store: Store, clock: ManualClock) -> None:
        def ttl_of(value: object) -> int | None:
            return 5 if value == "short" else None

        for key in ("short", "long"):
            assert await store.get_or_put(key, partial(str, key), ttl=ttl_of) == key
        assert await store.ttl_many(["short", "long"]) == [("short", remaining(5)), ("long", None)]
        clock.advance(5)
        assert await store.get_many(["short", "long"]) == [None, "long"]
        for bad in (0, -1, "5", True):
            with pytest.raises(InvalidTTL):
                await store.get_or_put("bad", lambda: 1, ttl=lambda _, bad=bad: bad)
        assert not await store.exists("bad")

    async def test_a_result_that_is_not_kept_is_returned(self, store: Store) -> None:
        calls = []

        async def factory() -> object:
            calls.append(1)
            return len(calls)

        def call(kept: bool) -> Awaitable[Any]:
            return store.get_or_put("key", factory, keep=lambda value: kept)

        assert await call(False) == 1
        assert not await store.exists("key")
        assert await call(True) == 2
        assert await call(False) == 2
        assert len(calls) == 2

    async def test_a_change_during_the_computation_wins(self, store: Store) -> None:
        async def puts() -> object:
            await store.put("key", "put", ttl=60)
            return "computed"

        async def deletes() -> object:
            await store.delete("key")
            return "computed"

        assert await store.get_or_put("key", puts) == "computed"
        assert await store.get("key") == "put"
        await store.delete("key")
        assert await store.get_or_put("key", deletes) == "computed"
        assert not await store.exists("key")

    async def test_options_are_checked_before_anything_is_computed(self, store: Store) -> None:
        for options in (
            {"keep": 1},
            {"on_error": "ignore"},
            {"on_invalid": None},
            {"soft_timeout": 1},
            {"ttl": 5, "stale_ttl": 5, "soft_timeout": 0},
            {"ttl": 5, "stale_ttl": 5, "soft_timeout": "1"},
            {"ttl": 5, "stale_ttl": -1},
            {"ttl": 5, "stale_ttl": True},
        ):
            arguments: dict[str, Any] = options
            with pytest.raises((ConfigurationError, InvalidTTL)):
                await store.get_or_put("key", _fails, **arguments)
        with pytest.raises(ConfigurationError, match="keep"):
            await store.get_or_put("key", lambda: 1, keep=str)  # type: ignore[arg-type]
        assert not await store.exists("key")

    async def test_a_stale_value_is_returned_if_the_factory_fails(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        for _ in range(2):
            failed = store.get_or_put("key", _fails, **STALE)
            assert await failed == "stale"
        assert store.computations.stale_served == 2
        assert await store.get_or_put("key", lambda: "new", **PLACE, ttl=TTL) == "new"
        assert await store.ttl("key", **PLACE) == ("new", remaining(TTL))
        clock.advance(TTL)
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **STALE)

    async def test_a_stale_value_ends(self, store: Store, clock: ManualClock) -> None:
        await _put_stale(store, clock)
        clock.advance(STALE_TTL - 0.1)
        assert await store.get_or_put("key", _fails, **STALE) == "stale"
        clock.advance(0.2)
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **STALE)

    async def test_only_calls_with_stale_ttl_get_a_stale_value(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **PLACE, ttl=TTL)
        both = ({"ttl": TTL}, {"ttl": TTL, "stale_ttl": STALE_TTL})
        for first, second in (both, both[::-1]):
            calls: list[dict[str, Any]] = [first, second]
            results = await asyncio.gather(
                *(store.get_or_put("key", _fails, **PLACE, **options) for options in calls),
                return_exceptions=True,
            )
            for options, result in zip(calls, results, strict=True):
                if "stale_ttl" in options:
                    assert result == "stale"
                else:
                    assert isinstance(result, LookupError)

    async def test_before_its_ttl_ends_it_is_an_ordinary_value(
        self, store: Store, clock: ManualClock
    ) -> None:
        made = store.get_or_put("key", lambda: 1, **PLACE, ttl=TTL, stale_ttl=STALE_TTL)
        assert await made == 1
        assert await store.get("key", **PLACE) == 1
        assert await store.ttl_many(["key", "z"], **PLACE) == [(1, remaining(TTL)), (None, None)]
        clock.advance(TTL - 0.1)
        assert await store.get_many(["key"], **PLACE) == [1]
        assert await store.exists("key", **PLACE)
        assert await store.delete("key", **PLACE)

    async def test_reads_do_not_find_a_stale_value(self, store: Store, clock: ManualClock) -> None:
        await _put_stale(store, clock)
        assert await store.get("key", **PLACE) is None
        assert await store.get_many(["key", "z"], **PLACE) == [None, None]
        assert await store.ttl("key", **PLACE) == (None, None)
        assert not await store.exists("key", **PLACE)
        assert await store.get_versioned("key", **PLACE) is None
        assert await store.pop("key", "gone", **PLACE) == "gone"
        assert not await store.move("key", "z", **PLACE)
        with pytest.raises(KeyNotFound):
            await store.require("key", **PLACE)
        assert await store.get_or_put("key", _fails, **STALE) == "stale"

    @needs(Capability.KEYS)
    async def test_listings_do_not_have_a_stale_value(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        await store.put("fresh", 1, **PLACE)
        assert await store.keys("computed") == ["fresh"]
        assert [key async for key in store.scan(**PLACE)] == ["fresh"]
        assert [item async for item in store.items(**PLACE)] == [("fresh", 1)]
        assert await store.count(**PLACE) == 1
        assert await store.delete_where(**PLACE, prefix="k") == 0
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **STALE)

    @needs(Capability.COLLECTIONS)
    async def test_a_collection_of_stale_values_is_not_listed(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        assert await store.collections() == []

    async def test_a_stale_value_is_no_answer_of_a_change(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        assert not await store.expire("key", 1000, **PLACE)
        assert not await store.delete("key", **PLACE)
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **STALE)
        await _put_stale(store, clock)
        assert await store.delete_many(["key", "z"], **PLACE) == 0
        with pytest.raises(LookupError):
            await store.get_or_put("key", _fails, **STALE)

    @needs(Capability.DESTROY, Capability.DESTROY_COLLECTION)
    async def test_destroying_a_stale_value(self, store: Store, clock: ManualClock) -> None:
        destroys: list[Callable[[], Awaitable[bool]]] = [
            lambda: store.destroy_collection("computed"),
            store.destroy,
        ]
        for destroy in destroys:
            await _put_stale(store, clock)
            lists = {Capability.KEYS, Capability.COLLECTIONS} <= store.capabilities
            assert await destroy() in ([False] if lists else [False, True])
            with pytest.raises(LookupError):
                await store.get_or_put("key", _fails, **STALE)

    @needs(Capability.COMPARE_AND_PUT)
    async def test_conditional_writes_take_a_stale_value_for_missing(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.get_or_put("key", lambda: 1, **PLACE, ttl=TTL, stale_ttl=STALE_TTL)
        versioned = await store.get_versioned("key", **PLACE)
        assert versioned is not None
        assert not await store.put_if_absent("key", 2, **PLACE)
        clock.advance(TTL)
        assert not await store.compare_and_put("key", 3, versioned.version, **PLACE)
        assert await store.put_if_absent("key", 4, **PLACE, ttl=5)
        assert await store.ttl("key", **PLACE) == (4, remaining(5))
        await store.delete("key", **PLACE)
        await _put_stale(store, clock, 7)
        assert await store.increment("key", 2, **PLACE, initial=40) == 42

    async def test_a_stale_part_is_kept(self, store: Store, clock: ManualClock) -> None:
        await store.get_or_put("key", lambda: 1, **PLACE, ttl=TTL, stale_ttl=STALE_TTL)
        assert await store.expire("key", 50, **PLACE)
        assert await store.ttl("key", **PLACE) == (1, remaining(50))
        assert await store.move("key", "moved", **PLACE)
        assert await store.ttl("moved", **PLACE) == (1, remaining(50))
        value = 1
        if Capability.COMPARE_AND_PUT in store.capabilities:
            value = await store.increment("moved", **PLACE)
            assert await store.ttl("moved", **PLACE) == (2, remaining(50))
        clock.advance(51)
        assert not await store.exists("moved", **PLACE)
        clock.advance(STALE_TTL - 2)
        assert await store.get_or_put("moved", _fails, **STALE) == value
        await store.put_many(["moved"], [3], **PLACE)
        assert await store.expire("moved", None, **PLACE)
        assert await store.ttl("moved", **PLACE) == (3, None)

    async def test_one_computation_in_all_processes(self, store: Store) -> None:
        calls = []

        async def compute() -> object:
            calls.append(1)
            await asyncio.sleep(0)
            return {"a": len(calls)}

        def call() -> Awaitable[Any]:
            return store.get_or_put("key", compute, **PLACE, across="processes")

        is_able = {Capability.COMPARE_AND_PUT, Capability.SHARED} <= store.capabilities
        if not is_able or "raw" in store.base.traits:
            with pytest.raises(UnsupportedOperation) as refusal:
                await call()
            assert refusal.value.store, "the error must name the store"
            return
        assert await asyncio.gather(*(call() for _ in range(3))) == [{"a": 1}] * 3
        assert await call() == {"a": 1}
        assert await store.read(RESERVED, [record_key("compute", "computed", "key")]) == [None]
        await store.delete("key", **PLACE)
        assert await call() == {"a": 2}

    async def test_a_slow_factory_goes_on_in_the_background(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _put_stale(store, clock)
        calls, go = [], asyncio.Event()

        async def slow() -> object:
            calls.append(1)
            await go.wait()
            return "new"

        def call() -> Awaitable[Any]:
            return store.get_or_put(
                "key", slow, **PLACE, ttl=TTL, stale_ttl=STALE_TTL, soft_timeout=0.25
            )

        waiting = [asyncio.ensure_future(call()) for _ in range(3)]
        await _until(lambda: len(calls) == 1 and clock.sleeping_for(0.25) == 3)
        assert not any(task.done() for task in waiting)
        clock.advance(0.25)  # less than layers without a watch may lag behind
        assert await asyncio.gather(*waiting) == ["stale"] * 3
        assert await call() == "stale"
        assert await store.get("key", **PLACE) is None
        assert len(calls) == 1
        go.set()
        await _until(lambda: store.idle)
        assert await store.ttl("key", **PLACE) == ("new", remaining(TTL))
        assert len(calls) == 1
