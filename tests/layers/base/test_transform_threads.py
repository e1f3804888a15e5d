"""Layers that change bytes in threads: what is done at once, errors, order and cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import CorruptEntry, MemoryStore, Store, stack
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.core.threads import run_in_thread
from kvwrap.layers.base import Transform

LONG = 1_000


class Reversed(Transform):
    """Reverses bodies, long ones in a thread that waits for `go`."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.suffix = b""

    def begin_encode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry]:
        if len(entry.body) < LONG:
            return entry.with_body(entry.body[::-1], b"\x01" + entry.codec)
        suffix = self.suffix
        return lambda: self._later(
            entry.with_body((entry.body + suffix)[::-1], b"\x01" + entry.codec)
        )

    def begin_decode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry | None] | None:
        if key == "hidden":
            return None
        decoded = entry.with_body(entry.body[::-1], entry.codec[1:])
        if key == "damaged":
            return lambda: self._fail(key)
        return decoded if len(entry.body) < LONG else lambda: self._later(decoded)

    def _later(self, entry: Entry) -> Entry:
        self.begun.set()
        assert self.go.wait(30)
        self.threads.append(threading.get_ident())
        return entry

    def _fail(self, key: str) -> Entry:
        raise CorruptEntry("damaged", key=key)


class Plain(Transform):
    """Changes bodies at once, as layers of other packages do."""

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        return entry.with_body(entry.body[::-1], b"\x01" + entry.codec)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        return entry.with_body(entry.body[::-1], entry.codec[1:])


@pytest.fixture
def store() -> Store:
    return stack(Reversed()).over(MemoryStore())


@pytest.mark.parametrize("layer", [Reversed(), Plain()], ids=["begin", "encode"])
async def test_values_of_all_lengths_come_back(layer: Transform) -> None:
    store = layer.over(MemoryStore())
    values = {"a": "short", "b": "x" * 5_000, "c": None, "d": ["y" * 2_000]}
    for key, value in values.items():
        await store.put(key, value)
        assert await store.get(key) == value
    await store.put_many(list(values), list(values.values()), collection="c")
    found = await store.get_many([*values, "missing"], collection="c")
    assert found == [*values.values(), None]
    assert await store.get("missing") is None


async def test_long_values_are_changed_in_another_thread(store: Store) -> None:
    layer = store.find(Reversed)
    await store.put("short", "a")
    await store.get("short")
    assert layer.threads == []
    await store.put("long", "a" * LONG)
    await store.get("long")
    await store.put_many(["short", "long"], ["a", "b" * LONG])
    await store.get_many(["short", "long"])
    assert len(layer.threads) == 4
    assert threading.get_ident() not in layer.threads


async def test_the_loop_turns_and_other_calls_finish_meanwhile(store: Store) -> None:
    layer = store.find(Reversed)
    layer.go.clear()
    putting = asyncio.create_task(store.put("long", "a" * LONG))
    await run_in_thread(layer.begun.wait, 30)
    await store.put("short", 1)
    assert await store.get_many(["short", "long"]) == [1, None]
    assert not putting.done()
    layer.go.set()
    await putting
    assert await store.get("long") == "a" * LONG


async def test_a_cancelled_put_writes_nothing(store: Store) -> None:
    await store.put("long", "before")
    layer = store.find(Reversed)
    layer.go.clear()
    putting = asyncio.create_task(store.put("long", "a" * LONG))
    await run_in_thread(layer.begun.wait, 30)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    layer.go.set()
    assert await store.get("long") == "before"


async def test_a_cancelled_get_ends_at_once(store: Store) -> None:
    await store.put("long", "a" * LONG)
    layer = store.find(Reversed)
    layer.begun.clear()
    layer.go.clear()
    getting = asyncio.create_task(store.get("long"))
    await run_in_thread(layer.begun.wait, 30)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    layer.go.set()
    assert await store.get("long") == "a" * LONG


async def test_a_put_that_ends_after_close_is_refused(store: Store) -> None:
    layer = store.find(Reversed)
    async with store:
        layer.go.clear()
        putting = asyncio.create_task(store.put("long", "a" * LONG))
        await run_in_thread(layer.begun.wait, 30)
    layer.go.set()
    with pytest.raises(Exception, match="closed"):
        await putting


async def test_writes_of_one_task_keep_their_order(store: Store) -> None:
    for value in ("a" * LONG, "short", "b" * LONG, "last"):
        await store.put("k", value)
        assert await store.get("k") == value
    await store.put_many(["k", "k"], ["a" * LONG, "last"])
    assert await store.get("k") == "last"


async def test_what_a_batch_needs_of_the_layers_state_is_taken_at_once(store: Store) -> None:
    layer = store.find(Reversed)
    layer.suffix = b" "
    layer.go.clear()
    putting = asyncio.create_task(store.put_many(["a", "b"], ["a" * LONG, "b" * LONG]))
    await run_in_thread(layer.begun.wait, 30)
    layer.suffix = b"no JSON"
    layer.go.set()
    await putting
    assert await store.get_many(["a", "b"]) == ["a" * LONG, "b" * LONG]


async def test_errors_and_hidden_entries_of_the_thread_reach_the_caller(store: Store) -> None:
    await store.put_many(["damaged", "hidden", "k"], ["a" * LONG, 1, 2])
    assert await store.get("hidden") is None
    assert await store.get_many(["hidden", "k"]) == [None, 2]
    for call in (store.get("damaged"), store.get_many(["k", "damaged"])):
        with pytest.raises(CorruptEntry) as raised:
            await call
        assert raised.value.key == "damaged"


async def test_a_part_inside_that_returns_too_few_entries_is_an_error() -> None:
    class Broken(MemoryStore):
        async def read(self, collection: Collection, keys: Any) -> list[Entry | None]:
            return []

    store = Plain().over(Broken())
    for call in (store.get("k"), store.get_many(["k", "l"])):
        with pytest.raises(ValueError, match=r"values to unpack|shorter"):
            await call
