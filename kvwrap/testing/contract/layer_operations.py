"""A stack with the layer: names, values, capabilities and composed operations."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from kvwrap import (
    Capability,
    Passthrough,
    ReadOnlyViolation,
    Stack,
    StackWarning,
    Store,
    stack,
)
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import needs, remaining
from kvwrap.testing.contract.layer_fixtures import VALUE, LayerFixtures
from kvwrap.testing.tap import Tap


@dataclass
class _Point:
    x: int
    y: int


class Operations(LayerFixtures):
    """Names and values pass through the layer, and its capabilities are as declared."""

    async def test_its_capabilities_are_as_declared(self, store: Store, backend: Store) -> None:
        assert store.capabilities == (backend.capabilities - self.lost) | self.gained

    async def test_values_pass_through_it(
        self, store: Store, backend: Store, clock: ManualClock
    ) -> None:
        writer = store if self.writable else backend
        await writer.put("one", VALUE, collection="other", ttl=100)
        await writer.put_many(["two", "three"], [2, VALUE])
        await writer.put("none", None)
        assert await store.get("one", collection="other") == VALUE
        assert await store.get_many(["three", "two"]) == [VALUE, 2]
        assert await store.exists("none")
        assert await store.require("none") is None
        assert await store.ttl("one", collection="other") == (VALUE, remaining(100))
        clock.advance(101)
        assert not await store.exists("one", collection="other")
        assert await store.get("two") == 2
        if self.writable:
            assert await store.delete("two")
            assert await store.delete_many(["two", "three", "none"]) == 2
            assert not await store.exists("three")

    @needs(Capability.KEYS)
    async def test_keys_are_listed_as_they_were_put(self, store: Store, backend: Store) -> None:
        writer = store if self.writable else backend
        await writer.put_many(["b:1", "b:2", "a", "😀"], [1, 2, 3, 4], collection="x:y")
        await writer.put("default", 5)
        assert sorted(await store.keys("x:y")) == ["a", "b:1", "b:2", "😀"]
        assert sorted([k async for k in store.scan(collection="x:y", prefix="b:")]) == [
            "b:1",
            "b:2",
        ]
        assert [k async for k in store.scan(collection="x:y", start="b:2", end="c")] == ["b:2"]
        assert [item async for item in store.items(collection="x:y", prefix="😀")] == [("😀", 4)]
        assert await store.keys() == ["default"]

    @needs(Capability.KEYS)
    async def test_ranges_are_counted_and_deleted_through_it(
        self, store: Store, backend: Store
    ) -> None:
        writer = store if self.writable else backend
        await writer.put_many(["b:1", "b:2", "a", "b"], [1, 2, 3, 4], collection="x:y")
        await writer.put("b:", 5)
        assert await store.count(collection="x:y", prefix="b:") == 2
        assert await store.count(collection="x:y") == 4
        assert await store.count() == 1
        if not self.writable:
            with pytest.raises(ReadOnlyViolation):
                await store.delete_where(collection="x:y", prefix="b:")
            assert await store.count(collection="x:y") == 4
            return
        assert await store.get_many(["b:1", "a"], collection="x:y") == [1, 3]
        assert await store.delete_where(collection="x:y", prefix="b:") == 2
        assert await store.get_many(["b:1", "b:2"], collection="x:y") == [None, None]
        assert sorted(await store.keys("x:y")) == ["a", "b"]
        assert await store.delete_where(collection="x:y") == 2
        assert await store.count(collection="x:y") == 0
        assert await store.get("b:") == 5

    @needs(Capability.COLLECTIONS)
    async def test_collections_are_listed_as_they_were_put(
        self, store: Store, backend: Store
    ) -> None:
        writer = store if self.writable else backend
        for collection in ("x", "x:y", "😀", None):
            await writer.put("key", 1, collection=collection)
        assert sorted(await store.collections()) == ["x", "x:y", "😀"]

    @needs(Capability.DESTROY_COLLECTION, Capability.DESTROY)
    async def test_destroying_through_it(self, store: Store) -> None:
        for collection in ("x", "xy", None):
            await store.put("key", 1, collection=collection)
        assert await store.destroy_collection("x")
        assert not await store.exists("key", collection="x")
        assert await store.exists("key", collection="xy")
        assert await store.destroy()
        assert not await store.exists("key", collection="xy")
        assert not await store.exists("key")

    @needs(Capability.COMPARE_AND_PUT)
    async def test_atomic_operations_stay_atomic(self, store: Store) -> None:
        async def put() -> bool:
            return await store.put_if_absent("new", VALUE, ttl=100)

        assert sorted(await asyncio.gather(*(put() for _ in range(5)))) == [False] * 4 + [True]
        versioned = await store.get_versioned("new")
        assert versioned is not None
        assert versioned.value == VALUE
        assert await store.compare_and_put("new", 1, versioned.version, ttl=100)
        assert not await store.compare_and_put("new", 2, versioned.version)
        assert await store.get("new") == 1
        await asyncio.gather(*(store.increment("new") for _ in range(10)))
        assert await store.ttl("new") == (11, remaining(100))
        assert await store.pop("new") == 11
        assert await store.pop("new", "gone") == "gone"

    async def test_composed_operations(self, store: Store) -> None:
        if not self.writable:
            return
        calls = []

        async def factory() -> object:
            calls.append(1)
            await asyncio.sleep(0)
            return VALUE

        @store.cached(ttl=100, collection="other", key=lambda number: f"doubled-{number}")
        async def doubled(number: int) -> int:
            calls.append(number)
            return 2 * number

        def get_or_put() -> Coroutine[Any, Any, Any]:
            return store.get_or_put("computed", factory, collection="other", ttl=100)

        assert await asyncio.gather(*(get_or_put() for _ in range(3))) == [VALUE] * 3
        assert await store.ttl_many(["computed"], collection="other") == [(VALUE, remaining(100))]
        assert await asyncio.gather(*(doubled(2) for _ in range(2))) == [4, 4]
        assert calls == [1, 2]
        points = store.typed(_Point, collection="other")
        await points.put("point", _Point(1, 2))
        assert await points.get("point") == _Point(1, 2)
        assert await store.get("point", collection="other") == {"x": 1, "y": 2}
        await store.cull()
        await store.check()
        assert await points.get("point") == _Point(1, 2)

    async def test_culling_through_it_culls_the_backend(
        self, layers: Stack, backend: Store
    ) -> None:
        if not self.writable or Capability.CULL not in backend.capabilities:
            return
        called = []

        async def record(operation: str) -> None:
            called.append(operation)

        async with (layers + stack(Tap(before=record))).over(backend) as store:
            await store.cull()
        assert "sweep" in called

    async def test_expire_and_move_pass_through_it(self, store: Store, clock: ManualClock) -> None:
        if not self.writable:
            for write in (store.put("key", 1), store.expire("key", 1), store.delete("key")):
                with pytest.raises(ReadOnlyViolation):
                    await write
            return
        await store.put("key", VALUE)
        assert await store.expire("key", 100)
        assert await store.move("key", "moved", target_collection="other")
        assert await store.ttl("moved", collection="other") == (VALUE, remaining(100))
        assert not await store.exists("key")
        clock.advance(101)
        assert not await store.exists("moved", collection="other")

    async def test_it_works_within_a_stack(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        layers_within = (
            stack(Passthrough()).prefix_collection("out-")
            + layers
            + stack(Passthrough()).prefix_collection("in-")
        )
        under = stack().prefix_collection("in-").over(backend)
        with warnings.catch_warnings():
            # The position may be a known mistake; the stack must work even so.
            warnings.simplefilter("ignore", StackWarning)
            whole = layers_within.over(backend)
        async with whole as store:
            if self.writable:
                await store.put_many(["a", "b"], [VALUE, 2], collection="other", ttl=50)
            else:
                await under.put_many(["a", "b"], [VALUE, 2], collection="out-other", ttl=50)
            assert await store.get_many(["b", "a"], collection="other") == [2, VALUE]
            clock.advance(51)
            assert not await store.exists("a", collection="other")
