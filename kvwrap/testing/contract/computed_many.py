"""Values of several keys that are computed together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import Store
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, remaining

PLACE: dict[str, Any] = {"collection": "computed"}


class ComputedMany(Contract):
    """`get_or_put_many` reads once, computes what is missing once, and shares single flight."""

    async def test_a_batch_computes_what_is_missing(self, store: Store) -> None:
        calls: list[list[str]] = []

        def factory(keys: list[str]) -> dict[str, object]:
            calls.append(keys)
            return {key: [key] for key in keys if key != "nowhere"}

        await store.put("b", None, **PLACE)
        keys = ["c", "b", "nowhere", "a", "c"]
        expected = [["c"], None, None, ["a"], ["c"]]
        assert await store.get_or_put_many(keys, factory, **PLACE) == expected
        assert calls == [["c", "nowhere", "a"]]
        assert await store.get_many(["a", "b", "c"], **PLACE) == [["a"], None, ["c"]]
        assert not await store.exists("nowhere", **PLACE)
        assert await store.get_or_put_many(keys, factory, **PLACE) == expected
        assert calls[1:] == [["nowhere"]]

    async def test_a_batch_and_single_keys_share_one_flight(self, store: Store) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        calls: list[list[str]] = []

        async def factory(keys: list[str]) -> dict[str, int]:
            calls.append(keys)
            begun.set()
            await go_on.wait()
            return dict.fromkeys(keys, 1)

        async def never() -> int:
            raise AssertionError("computed twice")

        batch = asyncio.create_task(store.get_or_put_many(["a", "b"], factory, **PLACE))
        await begun.wait()
        single = asyncio.create_task(store.get_or_put("b", never, **PLACE))
        other = asyncio.create_task(store.get_or_put_many(["b", "c"], factory, **PLACE))
        await asyncio.sleep(0)
        go_on.set()
        assert await batch == [1, 1]
        assert await single == 1
        assert await other == [1, 1]
        assert calls == [["a", "b"], ["c"]]

    async def test_results_of_a_batch_expire(self, store: Store, clock: ManualClock) -> None:
        def factory(keys: list[str]) -> dict[str, int]:
            return {key: len(key) for key in keys}

        keys = ["a", "aaaaa"]
        assert await store.get_or_put_many(keys, factory, **PLACE, ttl=lambda size: size * 10)
        assert await store.ttl_many(keys, **PLACE) == [(1, remaining(10)), (5, remaining(50))]
        clock.advance(11)
        assert await store.get_or_put_many(keys, lambda missing: {"a": 7}, **PLACE) == [7, 5]

    async def test_a_batch_that_fails_stores_nothing(self, store: Store) -> None:
        def fails(keys: list[str]) -> dict[str, int]:
            raise LookupError("the factory fails")

        await store.put("a", 1, **PLACE)
        with pytest.raises(LookupError):
            await store.get_or_put_many(["a", "b"], fails, **PLACE)
        assert not await store.exists("b", **PLACE)
        assert await store.get_or_put_many(["a", "b"], lambda keys: {"b": 2}, **PLACE) == [1, 2]
