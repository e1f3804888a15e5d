"""Changes accepted before and after a restart, and the first operation of an unopened stack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kvwrap import MemoryStore, Store, ValueTooLarge
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.write_behind import WriteBehind
from tests.layers.faulty import FaultyStore, numbered_keys

Build = Callable[[FaultyStore], Store]


@pytest.fixture(params=["write_behind", "fallback"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Return a function that puts a layer with the same journal over a backend."""
    path = tmp_path / "journal"
    if request.param == "write_behind":
        return lambda backend: WriteBehind(path, shutdown_timeout=0).over(backend)
    return lambda backend: Fallback(
        MemoryStore, writes="journal", journal=path, failures=1, open_for=10, recovery_delay=0
    ).over(backend)


async def flush(store: Store) -> None:
    layer = next(part for part in store.parts if isinstance(part, WriteBehind | Fallback))
    await layer.flush()


async def test_changes_accepted_in_three_openings_all_arrive_in_their_order(
    build: Build, backend: FaultyStore
) -> None:
    backend.down = True
    for key in ("a", "b", "c"):
        async with build(backend) as store:
            await store.put(key, key)
            await store.put("each", key)
    backend.down = False
    async with build(backend) as store:
        await flush(store)
    assert await backend.get_many(["a", "b", "c", "each"]) == ["a", "b", "c", "c"]
    assert backend.written()[-1] == "each"


async def test_a_change_after_a_restart_is_sent_after_those_before(
    build: Build, backend: FaultyStore
) -> None:
    backend.down = True
    async with build(backend) as store:
        await store.put_many(["x", "y"], [1, 1])
    async with build(backend) as store:
        await store.put("x", 2)
    backend.down = False
    async with build(backend) as store:
        await flush(store)
        assert backend.written() == ["y", "x"]
        assert await store.get_many(["x", "y"]) == [2, 1]


async def test_refused_changes_outlast_restarts_and_are_sent_again_when_asked(
    tmp_path: Path, backend: FaultyStore
) -> None:
    def build() -> Store:
        return WriteBehind(tmp_path / "journal", shutdown_timeout=0).over(backend)

    backend.write_errors = {"k": ValueTooLarge("too large")}
    async with build() as store:
        await store.put("k", "refused")
        await store.find(WriteBehind).flush()
    backend.write_errors = {}
    backend.down = True
    async with build() as store:
        # With a number of its own, not that of the refused change.
        await store.put("b", "pending")
        assert [row.key for row in await store.find(WriteBehind).refused()] == ["k"]
        assert await store.find(WriteBehind).retry_refused() == 1
    async with build() as store:
        assert store.find(WriteBehind).pending == 2
        assert await store.find(WriteBehind).refused() == []
        backend.down = False
        await store.find(WriteBehind).flush()
    assert await backend.get_many(["k", "b"]) == ["refused", "pending"]


async def test_the_first_write_of_an_unopened_stack_does_not_overtake_the_journal(
    build: Build, backend: FaultyStore
) -> None:
    backend.down = True
    async with build(backend) as store:
        await store.put("k", "old")
    backend.down = False
    unopened = build(backend)
    await unopened.put("k", "new")
    await flush(unopened)
    assert await backend.get("k") == "new"
    await unopened.close()


FIRST_CALLS: dict[str, tuple[Callable[[Store], Awaitable[object]], object]] = {
    "get": (lambda store: store.get("k", collection="c"), 5),
    "ttl": (lambda store: store.ttl("k", collection="c"), (5, None)),
    "keys": (lambda store: store.keys("c"), ["k"]),
    "count": (lambda store: store.count(collection="c"), 1),
    "collections": (lambda store: store.collections(), ["c"]),
    "flush": (flush, None),
    "put": (lambda store: store.put("k", 6, collection="c"), None),
    "increment": (lambda store: store.increment("k", collection="c"), 6),
    "expire": (lambda store: store.expire("k", 50, collection="c"), True),
    "delete": (lambda store: store.delete("k", collection="c"), True),
    "delete_where": (lambda store: store.delete_where(collection="c", prefix="k"), 1),
    "destroy_collection": (lambda store: store.destroy_collection("c"), True),
    "destroy": (lambda store: store.destroy(), True),
}
"""Calls, each with what it returns if it knows what an earlier process has accepted."""

LEFT = {"put": 6, "increment": 6, **dict.fromkeys(("delete", "delete_where"))}
LEFT |= dict.fromkeys(("destroy_collection", "destroy"))
"""The value after a call, if it is another one."""


@pytest.mark.parametrize("name", FIRST_CALLS)
async def test_the_first_call_of_an_unopened_stack_sees_the_journal(
    build: Build, backend: FaultyStore, name: str
) -> None:
    backend.down = True
    async with build(backend) as store:
        await store.put("k", 5, collection="c")
    backend.down = False
    unopened = build(backend)
    call, answer = FIRST_CALLS[name]
    assert await call(unopened) == answer
    await flush(unopened)
    assert await backend.get("k", collection="c") == LEFT.get(name, 5)
    await unopened.close()


async def test_a_closed_stack_leaves_no_task(build: Build, backend: FaultyStore) -> None:
    backend.down, before = True, asyncio.all_tasks()
    async with build(backend) as store:
        await store.put("k", 1)
    assert asyncio.all_tasks() <= before


async def test_opening_copies_pending_changes_to_the_other_store_in_batches(
    tmp_path: Path, backend: FaultyStore, other: FaultyStore
) -> None:
    backend.down = True
    keys = numbered_keys(1200)
    path = tmp_path / "journal"
    async with Fallback(MemoryStore, writes="journal", journal=path).over(backend) as store:
        await store.put_many(keys, [0] * 1200)
        await store.delete("gone")
    async with Fallback(other, writes="journal", journal=path).over(backend) as store:
        assert [name for name, *_ in other.calls] == ["write"] * 3 + ["remove"]
        assert sum(len(call[2]) for call in other.calls) == 1201
        assert await store.keys() == sorted(keys)


@pytest.mark.parametrize("method", ["compare_and_delete", "compare_and_put", "put_if_absent"])
async def test_the_first_condition_of_an_unopened_stack_is_on_what_is_pending(
    tmp_path: Path, backend: FaultyStore, method: str
) -> None:
    path = tmp_path / "journal"
    await backend.put("k", "old")
    old = await backend.get_versioned("k")
    assert old is not None
    if method == "put_if_absent":
        await backend.delete("k")
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put("k", "new")
    backend.down = False
    store = WriteBehind(path).over(backend)
    calls = {
        "compare_and_delete": lambda: store.compare_and_delete("k", old.version),
        "compare_and_put": lambda: store.compare_and_put("k", "later", old.version),
        "put_if_absent": lambda: store.put_if_absent("k", "later"),
    }
    assert not await calls[method]()
    assert await store.get("k") == "new"
    await store.close()
