"""Layers that do the same around every operation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TypeVar

import pytest

from kvwrap import MemoryStore
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, CALLS, Collection, KeyRange
from kvwrap.layers.base import Around, Call, Layer

T = TypeVar("T")


class Recording(Around):
    count_range, drop_range = Layer.count_range, Layer.drop_range

    def __init__(self) -> None:
        self.calls: list[Call[object]] = []

    async def around(self, call: Call[T]) -> T:
        self.calls.append(call)
        return await call()


async def test_every_primitive_passes_through_around_unchanged() -> None:
    store = Recording().over(MemoryStore())
    await store.put("a", 1, collection="c", ttl=60)
    await store.put_if_absent("a", 2, collection="c")
    assert await store.get_many(["a", "b"], collection="c") == [1, None]
    assert await store.expire("a", 60, collection="c")
    assert await store.keys("c") == ["a"]
    assert await store.collections() == ["c"]
    assert await store.count(collection="c") == 1
    assert await store.delete("a", collection="c")
    assert await store.delete_where(collection="c") == 0
    await store.destroy_collection("c")
    await store.destroy()
    await store.cull()
    await store.check()
    assert {call.operation for call in store.find(Recording).calls} == set(CALLS)


async def test_without_an_around_of_its_own_a_layer_changes_nothing() -> None:
    store = Around().over(MemoryStore())
    await store.put("a", 1)
    assert await store.get_many(["a", "b"]) == [1, None]


async def test_a_call_has_collection_keys_and_expected_versions() -> None:
    store = Recording().over(MemoryStore())
    await store.put_if_absent("a", 2, collection="c")
    await store.put("a", 2)
    await store.remove(None, ["a", "b"], [1, None])
    await store.list_keys("c", KeyRange(), None)
    await store.list_collections()
    calls = store.find(Recording).calls
    fields = [(call.collection, tuple(call.keys), call.expected) for call in calls]
    assert fields == [
        ("c", ("a",), (ABSENT,)),
        (None, ("a",), None),
        (None, ("a", "b"), [1, None]),
        ("c", (), None),
        (None, (), None),
    ]
    assert repr(calls[0]) == "<write of 1 keys in 'c'>"


async def test_a_primitive_that_a_subclass_implements_does_not_pass_through_around() -> None:
    class Mixed(Recording):
        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            return [None] * len(keys)

    store = Mixed().over(MemoryStore())
    await store.put("a", 1)
    assert await store.get("a") is None
    assert [call.operation for call in store.find(Mixed).calls] == ["write"]


async def test_a_call_can_be_repeated() -> None:
    class Twice(Around):
        async def around(self, call: Call[T]) -> T:
            await call()
            return await call()

    store = Twice().over(MemoryStore())
    await store.put("a", 1)
    assert await store.delete("a") is False  # the first of the two calls removed it


async def test_context_and_cancellation_pass_through() -> None:
    marked: ContextVar[str] = ContextVar("marked", default="")
    seen = []

    class Inner(Around):
        async def around(self, call: Call[T]) -> T:
            seen.append(marked.get())
            await asyncio.sleep(3600)
            return await call()

    store = Recording().over(Inner().over(MemoryStore()))
    marked.set("here")
    task = asyncio.create_task(store.get("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["here"]
