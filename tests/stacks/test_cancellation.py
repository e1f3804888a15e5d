"""Calls and closings that are cancelled or fail part-way: no task and no lock remains."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kvwrap import (
    Chaos,
    InvalidKey,
    MemoryStore,
    Shadow,
    Stack,
    Store,
    WriteBehind,
    stack,
)
from kvwrap.layers.base.around import Around, Call
from kvwrap.layers.compression.records import RESERVED

T = TypeVar("T")

KEYS = [f"key-{number}" for number in range(20)]


class Hanging(Around):
    """A layer whose writes never end."""

    async def around(self, call: Call[T]) -> T:
        if call.operation == "write":
            await asyncio.Event().wait()
        return await call()


def _sharded(layers: Stack) -> Store:
    return (
        stack()
        .shard({"b": lambda: layers.over(MemoryStore())}, name="a")
        .over(layers.over(MemoryStore()))
    )


CALLS: dict[str, Callable[[Store], Coroutine[Any, Any, Any]]] = {
    "get_many": lambda store: store.get_many(KEYS),
    "put_many": lambda store: store.put_many(KEYS, KEYS),
    "delete_many": lambda store: store.delete_many(KEYS),
    "keys": lambda store: store.keys(),
    "collections": lambda store: store.collections(),
    "destroy": lambda store: store.destroy(),
    "destroy_collection": lambda store: store.destroy_collection("a"),
    "count": lambda store: store.count(),
    "delete_where": lambda store: store.delete_where(prefix="key"),
    "cull": lambda store: store.cull(),
    "check": lambda store: store.check(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "layers",
    [stack().statistics(), stack().trace(), stack().log(), stack().compress(), stack().coalesce()],
    ids=["statistics", "trace", "log", "compress", "coalesce"],
)
async def test_calls_to_several_stores_may_be_cancelled_before_they_begin(
    layers: Stack, call: str
) -> None:
    store = _sharded(layers)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left
        task = asyncio.create_task(CALLS[call](store))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("call", ["get_many", "put_many", "delete_many"])
async def test_one_of_several_stores_may_refuse_at_once(call: str) -> None:
    store = (
        stack()
        .statistics()
        .shard({"b": lambda: stack().compress().over(MemoryStore()), "c": MemoryStore}, name="a")
        .over(MemoryStore())
    )
    arguments = [KEYS, KEYS] if call == "put_many" else [KEYS]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left
        with pytest.raises(InvalidKey):
            await getattr(store, call)(*arguments, collection=RESERVED)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_closing_stops_a_sender_whose_backend_raises_a_foreign_exception(
    tmp_path: Path,
) -> None:
    layers = stack().write_behind(tmp_path / "journal", retry_after=0.001).chaos(errors=OSError)
    before = asyncio.all_tasks()
    store = layers.over(MemoryStore())
    async with store:
        store.find(Chaos).down = True
        await store.put("key", 1)
    assert asyncio.all_tasks() == before
    async with store:
        store.find(Chaos).down = False
        await store.find(WriteBehind).flush()
        assert await store.keys() == ["key"]


async def test_closing_a_journal_may_be_cancelled(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    layers = stack().write_behind(tmp_path / "journal", shutdown_timeout=3600).layer(Hanging())
    store = layers.over(MemoryStore())
    await store.open()
    await store.put("key", 1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(store.close(), 0.05)
    assert asyncio.all_tasks() == before
    later = stack().write_behind(tmp_path / "journal").over(MemoryStore())
    async with later:
        assert await later.get("key") == 1


async def test_closing_a_shadow_may_be_cancelled() -> None:
    before = asyncio.all_tasks()
    layers = stack().shadow(lambda: Hanging().over(MemoryStore()), shutdown_timeout=3600)
    store = layers.over(MemoryStore())
    await store.open()
    await asyncio.gather(store.put("key", 1), store.put("other", 1))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(store.close(), 0.05)
    assert asyncio.all_tasks() == before


async def test_a_write_that_a_closing_shadow_dropped_is_a_difference_later() -> None:
    layers = stack().shadow(lambda: Hanging().over(MemoryStore()), shutdown_timeout=0)
    store = layers.over(MemoryStore())
    async with store:
        await asyncio.gather(store.put("key", 1), store.put("other", 1))
    async with store:
        assert await store.get("other") == 1
        await store.find(Shadow).drain()
    assert store.find(Shadow).snapshot().differences == {"missing": 1}


async def test_no_call_starts_a_task_to_close_a_generator() -> None:
    store, loop = MemoryStore(), asyncio.get_running_loop()
    tasks: list[str] = []

    def record(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        tasks.append(repr(work))
        return asyncio.Task(work, loop=loop, **options)

    await store.put_many(KEYS, KEYS)
    loop.set_task_factory(record)
    try:
        await store.increment("count")
        await store.expire("count", 60)
        assert await store.pop("count") == 1
        assert await store.move(KEYS[0], "moved")
        assert len(await store.keys(limit=3)) == 3
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
    finally:
        loop.set_task_factory(None)
    assert tasks == []
