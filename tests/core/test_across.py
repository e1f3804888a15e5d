"""One computation in all processes: who computes, who waits, and what ends the waiting.

Each store object stands for a process: what they have in common is the file.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidValue,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    Store,
    StoreTimeout,
    StoreUnavailable,
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
BAD: tuple[Any, ...] = ("threads", True, 1, "", [])
RECORD = record_key("compute", None, "k")


class Faults(Around):
    """Fails the operations on records of leases while its list has an error."""

    def __init__(self, errors: list[Exception]) -> None:
        self._errors = errors

    async def around(self, call: Call[Any]) -> Any:
        if self._errors and call.collection == RESERVED:
            raise self._errors[0]
        return await call()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


@pytest_asyncio.fixture
async def stores(path: Path, clock: ManualClock) -> AsyncIterator[list[Store]]:
    """Provide the stores of two processes."""
    async with SQLiteStore(path, clock=clock) as one, SQLiteStore(path, clock=clock) as other:
        yield [one, other]


class Factory:
    """A factory that waits until it is let go, and counts its calls."""

    def __init__(self, result: Any = "value") -> None:
        self.calls = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self._result = result

    async def __call__(self) -> Any:
        self.calls += 1
        self.begun.set()
        await self.go.wait()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def computing(store: Store, factory: Factory, **options: Any) -> asyncio.Task[Any]:
    """Return a call whose factory has begun."""
    task = asyncio.ensure_future(store.get_or_put("k", factory, **ACROSS, **options))
    await factory.begun.wait()
    return task


async def holder(store: Store) -> int | None:
    found = await LockRecords(store, is_cached=False, use=COMPUTATION).read(RECORD)
    return None if found is None or found.record is None else found.record.holder


async def leave_behind(store: Store) -> None:
    """Leave the lease of a process that has ended."""
    records = LockRecords(store, is_cached=False, use=COMPUTATION)
    assert await records.replace(RECORD, None, LockRecord(12345, 1, LEASE))


# -- arguments -------------------------------------------------------------------------------


async def test_arguments_are_checked(stores: list[Store], path: Path) -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda bad: stores[0].get_or_put("k", lambda: 1, across=bad),
        lambda bad: stores[0].typed(dict[str, int]).get_or_put("k", dict, across=bad),
    ]
    for bad in BAD:
        for call in calls:
            with pytest.raises(ConfigurationError, match="`across` must be 'processes', or None"):
                await call(bad)
        with pytest.raises(ConfigurationError, match="`across`"):
            stores[0].cached(across=bad)
        with pytest.raises(ConfigurationError, match="`across`"):
            sync(SQLiteStore(path)).cached(across=bad)


async def test_stores_of_one_process_are_refused() -> None:
    store = MemoryStore()
    with pytest.raises(UnsupportedOperation, match="leave out `across`") as raised:
        await store.get_or_put("k", lambda: 1, across="processes")
    assert raised.value.store == "MemoryStore"
    with pytest.raises(UnsupportedOperation):
        store.cached(across="processes")


async def test_a_store_that_evicts_is_no_error(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "a.db", max_entries=10) as store:
        assert await store.get_or_put("k", lambda: 1, across="processes") == 1


async def test_a_short_clamp_is_no_error(tmp_path: Path) -> None:
    async with stack().clamp_ttl(maximum=1).over(SQLiteStore(tmp_path / "a.db")) as store:
        assert await store.get_or_put("k", lambda: 1, across="processes") == 1


# -- who computes ----------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["value", None])
async def test_one_store_computes_for_both(
    stores: list[Store], clock: ManualClock, result: Any
) -> None:
    one, other = Factory(result), Factory()
    first = await computing(stores[0], one)
    others = asyncio.gather(*(stores[1].get_or_put("k", other, **ACROSS) for _ in range(5)))
    while stores[1].idle:
        await asyncio.sleep(0)
    one.go.set()
    assert await first == result
    assert await passing(clock, _awaited(others)) == [result] * 5
    assert (one.calls, other.calls) == (1, 0)
    assert stores[1].computations.computed == 0
    assert await stores[0].read(RESERVED, [RECORD]) == [None]
    assert all(store.idle for store in stores)


async def _awaited(future: Awaitable[Any]) -> Any:
    return await future


async def test_an_error_reaches_who_waits_there_and_others_compute(
    stores: list[Store], clock: ManualClock
) -> None:
    fails, other = Factory(LookupError("no")), Factory()
    first = await computing(stores[0], fails)
    same = asyncio.ensure_future(stores[0].get_or_put("k", fails, **ACROSS))
    elsewhere = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))
    await asyncio.sleep(0.01)
    other.go.set()
    fails.go.set()
    for call in (first, same):
        with pytest.raises(LookupError):
            await call
    assert await passing(clock, _awaited(elsewhere)) == "value"
    assert other.calls == 1


async def test_what_is_not_kept_is_computed_by_each(
    stores: list[Store], clock: ManualClock
) -> None:
    one, other = Factory(1), Factory(2)
    other.go.set()
    first = await computing(stores[0], one, keep=lambda value: False)
    second = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))
    await asyncio.sleep(0.01)
    one.go.set()
    assert await first == 1
    assert await passing(clock, _awaited(second)) == 2


async def test_the_lease_of_a_dead_process_ends(stores: list[Store], clock: ManualClock) -> None:
    await leave_behind(stores[0])
    clock.jump(3600)  # wall clocks decide nothing
    began = clock.monotonic()
    factory = Factory()
    factory.go.set()
    assert await passing(clock, stores[1].get_or_put("k", factory, **ACROSS)) == "value"
    assert LEASE <= clock.monotonic() - began < LEASE + 1
    assert await holder(stores[1]) is None


async def test_a_lease_is_renewed_while_the_factory_runs(
    stores: list[Store], clock: ManualClock
) -> None:
    one, other = Factory(), Factory()
    first = await computing(stores[0], one)
    second = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))

    async def last() -> None:
        until = clock.monotonic() + 3 * LEASE
        while clock.monotonic() < until:
            await asyncio.sleep(0.001)

    await passing(clock, last())
    assert other.calls == 0
    one.go.set()
    assert await first == "value"
    assert await passing(clock, _awaited(second)) == "value"


async def test_a_lost_lease_does_not_end_the_computation(
    stores: list[Store], clock: ManualClock
) -> None:
    factory = Factory()
    call = await computing(stores[0], factory)
    await stores[1].remove(RESERVED, [RECORD])
    await clock.run(LEASE / 2)  # a renewal is due
    while clock.sleeping:  # until it is refused
        await asyncio.sleep(0.001)
    await clock.settle()
    factory.go.set()
    assert await call == "value"
    assert await stores[1].get("k") == "value"
    gc.collect()  # lets the loop tell of tasks that have failed


class Shared(MemoryStore):
    """Stands for a server that tells changes."""

    capabilities = MemoryStore.capabilities | {Capability.SHARED}


async def test_a_change_that_the_store_tells_ends_the_waiting(clock: ManualClock) -> None:
    base = Shared(clock=clock)
    one, other = Factory(), Factory()
    first = await computing(Passthrough().over(base), one)
    second = asyncio.ensure_future(Passthrough().over(base).get_or_put("k", other, **ACROSS))
    await clock.settle()
    assert not second.done()
    one.go.set()
    assert await first == "value"
    await clock.settle()
    assert second.done()  # although the clock has stood still
    assert await second == "value"
    assert other.calls == 0


async def test_a_put_by_another_ends_the_waiting(stores: list[Store], clock: ManualClock) -> None:
    one, other = Factory(), Factory()
    first = await computing(stores[0], one)
    second = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))
    await asyncio.sleep(0.01)
    await stores[1].put("k", "put")
    assert await passing(clock, _awaited(second)) == "put"
    one.go.set()
    assert await first == "value"  # its own caller's
    assert await stores[0].get("k") == "put"


async def test_a_deletion_while_waiting_does_not_keep_the_result_out(
    stores: list[Store], clock: ManualClock
) -> None:
    await leave_behind(stores[0])
    other = Factory()
    second = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))
    await asyncio.sleep(0.01)
    await stores[1].delete("k")
    other.go.set()
    assert await passing(clock, _awaited(second)) == "value"
    assert await stores[0].get("k") == "value"


async def test_a_change_while_the_factory_runs_wins(stores: list[Store]) -> None:
    factory = Factory()
    call = await computing(stores[0], factory)
    await stores[0].delete("k")
    factory.go.set()
    assert await call == "value"
    assert await stores[1].get("k") is None


# -- stale values ----------------------------------------------------------------------------

STALE: dict[str, Any] = {"ttl": 10, "stale_ttl": 1_000}


async def test_a_stale_value_is_served_while_another_computes(
    stores: list[Store], clock: ManualClock
) -> None:
    await stores[0].get_or_put("k", lambda: "old", **STALE)
    clock.advance(11)
    one, other = Factory("new"), Factory()
    first = await computing(stores[0], one, **STALE)
    served = stores[1].get_or_put("k", other, **ACROSS, **STALE, soft_timeout=0.1)
    assert await passing(clock, served) == "old"
    one.go.set()
    assert await first == "new"

    async def arrived() -> None:
        while not stores[1].idle:
            await asyncio.sleep(0.001)

    await passing(clock, arrived())
    assert await stores[1].get("k") == "new"
    assert other.calls == 0


async def test_a_stale_value_is_served_if_the_factory_fails(
    stores: list[Store], clock: ManualClock
) -> None:
    await stores[0].get_or_put("k", lambda: "old", **STALE)
    clock.advance(11)
    fails = Factory(LookupError("no"))
    fails.go.set()
    for store in stores:
        assert await store.get_or_put("k", fails, **ACROSS, **STALE) == "old"
    assert fails.calls == 2
    with pytest.raises(LookupError):
        await stores[1].get_or_put("k", fails, **ACROSS)


async def test_copies_of_what_was_missing_hide_nothing(path: Path, clock: ManualClock) -> None:
    def cached() -> Store:
        near = MemoryStore(clock=clock)
        tier = stack().read_through(near, coherence="ttl", ttl=3600, negative_ttl=3600)
        return tier.over(SQLiteStore(path, clock=clock))

    async with cached() as one, cached() as other:
        assert await other.get("k") is None  # and remembers that
        factory = Factory()
        first = await computing(one, factory)
        second = asyncio.ensure_future(other.get_or_put("k", Factory("other"), **ACROSS))
        await asyncio.sleep(0.01)
        factory.go.set()
        assert await first == await passing(clock, _awaited(second)) == "value"


# -- failures --------------------------------------------------------------------------------


async def test_a_store_that_fails_while_leasing(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [StoreTimeout("no answer")]
    layers = stack().layer(Faults(errors))
    async with layers.over(SQLiteStore(path, clock=clock)) as store:
        with pytest.raises(StoreTimeout):
            await store.get_or_put("k", lambda: 1, across="processes")
        cached = store.cached(across="processes", key=lambda: "k")

        @cached
        async def compute() -> int:
            return 2

        with caplog.at_level(logging.WARNING, "kvwrap.computed"):
            assert await compute() == 2
        assert "look at other processes" in caplog.text
        assert store.computations.store_failures == 1
        assert await store.get("k") == 2


async def test_an_invalid_value_that_arrives_is_an_error_if_asked_for(
    stores: list[Store], clock: ManualClock
) -> None:
    typed = stores[1].typed(dict[str, int])
    factory = Factory("no dict")
    first = await computing(stores[0], factory)
    second = asyncio.ensure_future(
        typed.get_or_put("k", dict, across="processes", on_error="compute", on_invalid="raise")
    )
    await asyncio.sleep(0.01)
    factory.go.set()
    assert await first == "no dict"
    with pytest.raises(InvalidValue):
        await passing(clock, _awaited(second))
    replaced = typed.get_or_put("k", lambda: {"a": 1}, across="processes", on_invalid="compute")
    assert await replaced == {"a": 1}


async def test_two_computations_that_need_each_other_end(
    stores: list[Store], clock: ManualClock
) -> None:
    begun = [asyncio.Event(), asyncio.Event()]

    async def outer(index: int) -> Any:
        store, other = stores[index], 1 - index

        async def compute() -> str:
            begun[index].set()
            await begun[other].wait()
            return await store.get_or_put(f"k{other}", lambda: f"inner {index}", **ACROSS)

        return await store.get_or_put(f"k{index}", compute, **ACROSS)

    answers = await passing(clock, _awaited(asyncio.gather(outer(0), outer(1))))
    assert all(answer.startswith("inner") for answer in answers)


async def test_who_waits_while_the_store_closes_gets_its_error(
    path: Path, clock: ManualClock
) -> None:
    store = SQLiteStore(path, clock=clock)
    await store.open()
    await leave_behind(store)
    factory = Factory()
    call = asyncio.ensure_future(store.get_or_put("k", factory, on_error="compute", **ACROSS))
    while store.idle:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await passing(clock, _awaited(call))
    assert not factory.calls


async def test_a_cancelled_caller_leaves_nothing(stores: list[Store], clock: ManualClock) -> None:
    one, other = Factory(), Factory()
    first = await computing(stores[0], one)
    waiting = asyncio.ensure_future(stores[1].get_or_put("k", other, **ACROSS))
    await asyncio.sleep(0.01)
    for call in (waiting, first):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    for store in stores:
        while not store.idle:
            await asyncio.sleep(0)
    assert await holder(stores[1]) is None
    other.go.set()
    assert await stores[1].get_or_put("k", other, **ACROSS) == "value"


def test_blocking_views_share_a_computation(path: Path) -> None:
    entered, go, calls = threading.Event(), threading.Event(), []

    def compute() -> int:
        calls.append(1)
        entered.set()
        assert go.wait(30)
        return len(calls)

    with sync(SQLiteStore(path)) as one, sync(SQLiteStore(path)) as other:
        results: list[Any] = []
        first = threading.Thread(
            target=lambda: results.append(
                one.cached(across="processes", key=lambda: "k")(compute)()
            )
        )
        first.start()
        assert entered.wait(30)
        second = threading.Thread(
            target=lambda: results.append(other.get_or_put("k", compute, across="processes"))
        )
        second.start()
        go.set()
        first.join()
        second.join()
        typed = other.typed(dict[str, int])
        assert typed.get_or_put("t", lambda: {"a": 1}, across="processes") == {"a": 1}
    assert results == [1, 1]
