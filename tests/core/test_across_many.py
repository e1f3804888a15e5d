"""One computation of several values in all processes; each store object stands for a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    SQLiteStore,
    Store,
    StoreTimeout,
    UnsupportedOperation,
    stack,
    sync,
)
from kvwrap.core.across import LEASE
from kvwrap.core.lease import COMPUTATION, RESERVED, LockRecord, LockRecords, record_key
from kvwrap.layers.base import Around, Call
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.locks import passing

ACROSS: dict[str, Any] = {"across": "processes"}
STALE: dict[str, Any] = {"ttl": 10, "stale_ttl": 1_000}


class Factory:
    """A factory that waits until it is let go, and notes the keys it is called with."""

    def __init__(self, name: str, *, goes: bool = True) -> None:
        self.calls: list[list[str]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self._name = name
        if goes:
            self.go.set()

    async def __call__(self, keys: list[str]) -> dict[str, str]:
        self.calls.append(keys)
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {key: f"{key} by {self._name}" for key in keys if key != "nothing"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


@pytest_asyncio.fixture
async def stores(path: Path, clock: ManualClock) -> AsyncIterator[list[Store]]:
    """Provide the stores of two processes."""
    async with SQLiteStore(path, clock=clock) as one, SQLiteStore(path, clock=clock) as other:
        yield [one, other]


def ask(store: Store, keys: str, factory: Factory, **options: Any) -> asyncio.Future[list[Any]]:
    """Begin a call for the keys, which are separated by spaces."""
    call = store.get_or_put_many(keys.split(), factory, **ACROSS, **options)
    return asyncio.ensure_future(call)


async def awaited(call: Awaitable[Any]) -> Any:
    return await call


async def leave_behind(store: Store, key: str) -> None:
    """Leave the lease of a process that has ended."""
    records = LockRecords(store, is_cached=False, use=COMPUTATION)
    name = record_key("compute", None, key)
    assert await records.replace(name, None, LockRecord(12345, 1, LEASE))


async def no_records(store: Store, keys: str) -> bool:
    names = [record_key("compute", None, key) for key in keys.split()]
    return await store.read(RESERVED, names) == [None] * len(names)


async def test_processes_share_what_they_compute(stores: list[Store], clock: ManualClock) -> None:
    one, other = Factory("one", goes=False), Factory("other")
    first = ask(stores[0], "a b", one)
    await one.begun.wait()
    second = ask(stores[1], "c b", other)
    await passing(clock, other.begun.wait())
    assert other.calls == [["c"]]  # at once, although it has to wait for b
    one.go.set()
    assert await first == ["a by one", "b by one"]
    assert await passing(clock, awaited(second)) == ["c by other", "b by one"]
    assert (one.calls, other.calls) == ([["a", "b"]], [["c"]])
    assert await no_records(stores[0], "a b c")
    assert all(store.idle for store in stores)


async def test_batches_in_opposite_order_do_not_wait_for_each_other(
    stores: list[Store], clock: ManualClock
) -> None:
    factories = [Factory("one"), Factory("other")]
    calls = asyncio.gather(
        *(ask(stores[0], f"{n} {n + 1} {n + 2}", factories[0]) for n in range(20)),
        *(ask(stores[1], f"{n + 2} {n + 1} {n}", factories[1]) for n in reversed(range(20))),
    )
    answers = await passing(clock, awaited(calls))
    assert answers[:20] == [answer[::-1] for answer in answers[:19:-1]]
    computed = [key for factory in factories for keys in factory.calls for key in keys]
    assert len(computed) == len(set(computed)) == 22


async def test_a_batch_and_a_single_key_share(stores: list[Store], clock: ManualClock) -> None:
    one = Factory("one", goes=False)
    first = ask(stores[0], "a b", one)
    await one.begun.wait()
    second = asyncio.ensure_future(stores[1].get_or_put("b", lambda: "single", **ACROSS))
    await asyncio.sleep(0.01)
    one.go.set()
    assert await first == ["a by one", "b by one"]
    assert await passing(clock, awaited(second)) == "b by one"


async def test_what_fails_or_is_left_out_is_computed_by_the_next(
    stores: list[Store], clock: ManualClock
) -> None:
    one, other = Factory("one", goes=False), Factory("other")
    one.error = LookupError("no")
    first = ask(stores[0], "a b", one)
    await one.begun.wait()
    second = ask(stores[1], "a b nothing", other)
    await asyncio.sleep(0.01)
    one.go.set()
    with pytest.raises(LookupError):
        await first
    assert await passing(clock, awaited(second)) == ["a by other", "b by other", None]
    assert await no_records(stores[0], "a b nothing")


async def test_only_the_key_of_a_dead_process_is_late(
    stores: list[Store], clock: ManualClock
) -> None:
    await leave_behind(stores[0], "b")
    factory = Factory("other")
    call = ask(stores[1], "a b c", factory)
    await passing(clock, factory.begun.wait())
    began = clock.monotonic()
    assert await passing(clock, awaited(call)) == ["a by other", "b by other", "c by other"]
    assert factory.calls == [["a", "c"], ["b"]]
    assert clock.monotonic() - began < LEASE + 1


async def test_stale_values_are_returned_if_the_factory_fails(
    stores: list[Store], clock: ManualClock
) -> None:
    await ask(stores[0], "a b", Factory("one"), **STALE)
    clock.advance(11)
    fails = Factory("other")
    fails.error = LookupError("no")
    assert await ask(stores[1], "a b", fails, **STALE) == ["a by one", "b by one"]
    assert await no_records(stores[0], "a b")


async def test_near_copies_hide_nothing(path: Path, clock: ManualClock) -> None:
    def cached() -> Store:
        near = MemoryStore(clock=clock)
        tier = stack().read_through(near, coherence="ttl", ttl=3600, negative_ttl=3600)
        return tier.over(SQLiteStore(path, clock=clock))

    async with cached() as one, cached() as other:
        assert await other.get_many(["a", "b"]) == [None, None]  # and remembers that
        assert await ask(one, "a b", Factory("one")) == ["a by one", "b by one"]
        factory = Factory("other")
        assert await ask(other, "a b", factory) == ["a by one", "b by one"]
        assert not factory.calls


async def test_a_store_that_fails_while_leasing(path: Path, clock: ManualClock) -> None:
    class Faults(Around):
        async def around(self, call: Call[Any]) -> Any:
            if call.collection == RESERVED:
                raise StoreTimeout("no answer")
            return await call()

    async with stack().layer(Faults()).over(SQLiteStore(path, clock=clock)) as store:
        with pytest.raises(StoreTimeout):
            await ask(store, "a b", Factory("one"))
        factory = Factory("one")
        answers = await ask(store, "a b", factory, on_error="compute")
        assert answers == ["a by one", "b by one"]
        assert factory.calls == [["a", "b"]]


async def test_a_cancelled_call_leaves_nothing(stores: list[Store]) -> None:
    one = Factory("one", goes=False)
    first = ask(stores[0], "a b", one)
    await one.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    while not stores[0].idle:
        await asyncio.sleep(0)
    assert await no_records(stores[1], "a b")


async def test_arguments_are_checked(stores: list[Store]) -> None:
    with pytest.raises(ConfigurationError, match="`across`"):
        await stores[0].get_or_put_many(["a"], dict.fromkeys, across="all")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperation):
        MemoryStore().cached_many(across="processes")


async def test_functions_of_many_items(stores: list[Store]) -> None:
    calls = []

    async def double(numbers: list[int]) -> dict[int, int]:
        calls.append(numbers)
        return {number: 2 * number for number in numbers}

    for store in stores:
        cached = store.cached_many(across="processes", key=str)(double)
        assert await cached([1, 2]) == {1: 2, 2: 4}
    assert calls == [[1, 2]]


def test_blocking_views(path: Path) -> None:
    with sync(SQLiteStore(path)) as view:
        cached = view.cached_many(across="processes", key=str)(
            lambda numbers: dict.fromkeys(numbers, 1)
        )
        assert cached([1, 2]) == {1: 1, 2: 1}
        found = view.get_or_put_many(["a"], lambda keys: dict.fromkeys(keys, 2), across="processes")
        assert found == [2]
