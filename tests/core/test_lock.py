"""Locks that processes share: unknown outcomes, how they are renewed, and how they end."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from kvwrap import (
    ConfigurationError,
    Deadlock,
    InvalidKey,
    InvalidTTL,
    LockLost,
    LockTimeout,
    SQLiteStore,
    Store,
    StoreTimeout,
    StoreUnavailable,
    stack,
)
from kvwrap.core.lease import FREE, LockRecord, LockRecords, record_key
from kvwrap.layers.base import Around, Call
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.locks import leave_behind, passing
from kvwrap.testing.tap import Tap

T = TypeVar("T")


class Faults:
    """Fails, delays or counts the operations of a store, before or after they are carried out."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.before: Callable[[str], None] | None = None

    async def __call__(self, operation: str) -> None:
        self.calls.append(operation)
        if self.before is not None:
            self.before(operation)


class After(Around):
    """Calls a function with the name of each operation that was carried out.

    Args:
        after: The function; it raises to hide the outcome.
    """

    def __init__(self, after: Callable[[str], Awaitable[None]]) -> None:
        self._after = after

    async def around(self, call: Call[T]) -> T:
        result = await call()
        await self._after(call.operation)
        return result


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: ManualClock, faults: Faults) -> AsyncIterator[Store]:
    layers = stack().layer(After(faults))
    async with layers.over(SQLiteStore(tmp_path / "a.db", clock=clock)) as store:
        yield store


async def holder_of(store: Store, key: str) -> int | None:
    """Return who holds a lock by its record."""
    found = await LockRecords(store, is_cached=False).read(record_key("lock", None, key))
    return None if found is None or found.record is None else found.record.holder


def fail_once(operation: str) -> Callable[[str], None]:
    """Return what lets the first such operation fail after it was carried out."""
    failed: list[str] = []

    def before(called: str) -> None:
        if called == operation and not failed:
            failed.append(called)
            raise StoreTimeout("no answer")

    return before


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_arguments_are_checked(store: Store) -> None:
    for error, arguments in (
        (InvalidKey, {"key": ""}),
        (InvalidKey, {"key": "kvwrap.a"}),
        (InvalidTTL, {"key": "a", "ttl": 0}),
        (InvalidTTL, {"key": "a", "ttl": None}),
        (ConfigurationError, {"key": "a", "wait": -1}),
    ):
        with pytest.raises(error):
            store.lock(**arguments)  # type: ignore[arg-type]


async def test_the_object_is_for_one_block_at_a_time(store: Store) -> None:
    lock = store.lock("a")
    async with lock:
        with pytest.raises(Deadlock):
            async with lock:
                pass
    async with lock as lease:
        assert lease.is_held


# -- round trips -----------------------------------------------------------------------------


async def test_a_lock_is_read_first_unless_it_was_held_here_last(
    store: Store, faults: Faults, tmp_path: Path
) -> None:
    async def expect(*rounds: list[str]) -> None:
        for calls in rounds:
            faults.calls.clear()
            async with store.lock("a"):
                pass
            assert faults.calls == calls

    unread, read = ["write", "write"], ["read", "write", "write"]
    await expect(read, unread, unread)
    async with SQLiteStore(tmp_path / "a.db", clock=store.clock) as other:
        for calls in (["write", *read], read, read):
            async with other.lock("a"):
                pass
            await expect(calls)
    await expect(read, unread)


async def test_another_holder_since_is_noticed(store: Store, tmp_path: Path) -> None:
    async with store.lock("a") as first:
        pass
    async with SQLiteStore(tmp_path / "a.db", clock=store.clock) as other:
        async with other.lock("a") as second:
            pass
        async with store.lock("a") as third:
            assert first.fencing < second.fencing < third.fencing


async def test_a_number_is_larger_after_the_record_has_expired(
    store: Store, clock: ManualClock
) -> None:
    async with store.lock("a") as first:
        pass
    clock.advance(2 * 86400)
    await store.cull()
    async with store.lock("a") as second:
        assert second.fencing > first.fencing


# -- unknown outcomes ------------------------------------------------------------------------


async def test_an_unknown_acquisition_is_undone(store: Store, faults: Faults) -> None:
    faults.before = fail_once("write")
    with pytest.raises(StoreTimeout):
        async with store.lock("a"):
            raise AssertionError("nobody knows whether it is held")
    await until(lambda: store.idle)
    assert await holder_of(store, "a") == FREE


async def test_a_layer_that_repeats_the_write_does_no_harm(
    tmp_path: Path, clock: ManualClock, faults: Faults
) -> None:
    faults.before = fail_once("write")
    layers = stack().retry(wait=0.001).layer(After(faults))
    async with layers.over(SQLiteStore(tmp_path / "a.db", clock=clock)) as store:

        async def work() -> None:
            async with store.lock("a") as lease:
                assert lease.is_held
                faults.before = fail_once("write")

        await passing(clock, work())
        assert await holder_of(store, "a") == FREE


async def test_an_unknown_release_does_not_fail_the_block(
    store: Store, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    async with store.lock("a"):
        faults.before = fail_once("write")
    assert "could not be released" in caplog.text
    async with store.lock("a", wait=0):
        pass


async def test_an_unknown_renewal_is_repeated(
    store: Store, faults: Faults, clock: ManualClock
) -> None:
    async with store.lock("a", ttl=30) as lease:
        faults.before = fail_once("write")
        faults.calls.clear()
        clock.advance(11)
        await until(lambda: len(faults.calls) >= 1)
        while faults.calls.count("write") < 3:  # one failed, one was refused, one succeeded
            clock.advance(0.1)
            await asyncio.sleep(0.001)
        assert lease.is_held


async def test_an_outage_ends_the_lease_before_others_may_have_it(
    store: Store, faults: Faults, clock: ManualClock
) -> None:
    def down(operation: str) -> None:
        raise StoreUnavailable("down")

    lost_at = 0.0

    async def work() -> None:
        nonlocal lost_at
        async with store.lock("a", ttl=3):
            faults.before = down
            try:
                await asyncio.Event().wait()
            finally:
                lost_at = clock.monotonic()

    begun = clock.monotonic()
    with pytest.raises(LockLost) as raised:
        await passing(clock, work())
    assert isinstance(raised.value.__cause__, StoreUnavailable)
    assert lost_at - begun < 3
    faults.before = None


async def test_a_loss_is_told_while_the_store_hangs(tmp_path: Path, clock: ManualClock) -> None:
    answers = asyncio.Event()
    answers.set()

    async def before(operation: str) -> None:
        await answers.wait()

    layers = stack().layer(Tap(before=before))
    async with layers.over(SQLiteStore(tmp_path / "a.db", clock=clock)) as store:

        async def work() -> None:
            async with store.lock("a", ttl=3):
                answers.clear()
                await asyncio.Event().wait()

        with pytest.raises(LockLost):
            await passing(clock, work())
        answers.set()  # and the lock is released after all
        await until(lambda: store.idle)
        async with store.lock("a", wait=0):
            pass


async def test_a_new_version_of_the_same_record_is_no_loss(
    store: Store, clock: ManualClock, faults: Faults
) -> None:
    records, name = LockRecords(store, is_cached=False), record_key("lock", None, "a")
    async with store.lock("a", ttl=30) as lease:
        found = await records.read(name)
        assert found is not None
        assert found.record is not None
        await records.replace(name, found, found.record)  # as a rewrite does
        clock.advance(11)
        faults.calls.clear()
        await until(lambda: faults.calls.count("write") >= 2)
        assert lease.is_held


async def test_a_record_that_is_free_already_is_no_loss(store: Store) -> None:
    """A release may have come to the backend unknown, and another version been written since."""
    records, name = LockRecords(store, is_cached=False), record_key("lock", None, "a")
    async with store.lock("a", ttl=30):
        found = await records.read(name)
        assert found is not None
        assert found.record is not None
        free = LockRecord(FREE, found.record.fencing, found.record.ttl)
        assert await records.replace(name, found, free)
    async with store.lock("a", wait=0):
        pass


async def test_a_record_that_another_has_by_the_end_is_a_loss(store: Store) -> None:
    records, name = LockRecords(store, is_cached=False), record_key("lock", None, "a")

    async def lose() -> None:
        async with store.lock("a", ttl=30):
            found = await records.read(name)
            assert found is not None
            assert found.record is not None
            other = LockRecord(7, found.record.fencing + 1, found.record.ttl)
            assert await records.replace(name, found, other)

    with pytest.raises(LockLost):
        await lose()
    assert await holder_of(store, "a") == 7


# -- cancellation ----------------------------------------------------------------------------


async def test_a_cancellation_at_any_await_leaves_the_lock_free(
    store: Store, clock: ManualClock
) -> None:
    async def work() -> None:
        async with store.lock("a", ttl=3600):
            await asyncio.sleep(0)

    for turns in range(200):
        task = asyncio.ensure_future(work())
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        is_complete = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: store.idle)
        assert await holder_of(store, "a") in (None, FREE)
        if is_complete:
            break
    else:
        raise AssertionError("no attempt ended by itself")


async def test_a_cancellation_from_outside_stays_one(store: Store, clock: ManualClock) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with store.lock("a", ttl=0.1):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await entered.wait()
    await store.remove("kvwrap.locks", [record_key("lock", None, "a")])
    task.cancel()
    clock.advance(0.1)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_not_replaced(store: Store) -> None:
    async def work() -> None:
        async with store.lock("a"):
            await store.remove("kvwrap.locks", [record_key("lock", None, "a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()


async def test_a_timeout_around_the_block_still_works(store: Store) -> None:
    async def hold() -> None:
        async with asyncio.timeout(None) as limit, store.lock("a"):
            limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await hold()
    async with store.lock("a", wait=0):
        pass


# -- other ends ------------------------------------------------------------------------------


async def test_a_lock_that_is_dropped_is_released(store: Store) -> None:
    lock = store.lock("a", ttl=3600)
    lease = await lock.__aenter__()
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None
    await until(lambda: store.idle)
    assert not lease.is_held
    async with store.lock("a", wait=0):
        pass


def test_a_lock_may_be_dropped_after_its_loop_was_closed(tmp_path: Path) -> None:
    store, held = SQLiteStore(tmp_path / "a.db"), []

    async def hold() -> None:
        lock = store.lock("a")
        await lock.__aenter__()
        held.append(lock)

    asyncio.run(hold())
    held.clear()
    gc.collect()  # what a finalizer raises fails the test
    asyncio.run(store.close())


async def test_a_lock_that_a_forked_child_drops_is_not_released(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = store.lock("a", ttl=3600)
    lease = await lock.__aenter__()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        del lock
        gc.collect()
    await asyncio.sleep(0)
    assert await holder_of(store, "a") != FREE
    assert lease.is_held


async def test_tasks_and_locks_do_not_pile_up(store: Store) -> None:
    before = len(asyncio.all_tasks())
    for number in range(50):
        async with store.lock(f"lock-{number}"):
            pass
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= before
    assert store.idle


def test_a_lock_of_a_stopped_loop_is_taken_by_the_next(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.db")
    first = asyncio.new_event_loop()

    async def hold() -> None:
        async with store.lock("a", ttl=0.3):
            first.stop()
            await asyncio.Event().wait()

    task = first.create_task(hold())
    first.run_forever()

    async def acquire() -> None:
        async with store.lock("a") as lease:
            assert lease.is_held
        await store.close()

    asyncio.run(acquire())
    task.cancel()
    first.run_until_complete(asyncio.gather(task, return_exceptions=True))
    first.run_until_complete(store.close())
    first.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_does_not_hold_the_lock(store: Store) -> None:
    async with store.lock("a") as lease:
        child = os.fork()
        if child == 0:
            os._exit(1 if lease.is_held else 0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert lease.is_held
    assert await holder_of(store, "a") == FREE


async def test_a_damaged_record_is_waited_for_and_replaced(
    store: Store, clock: ManualClock
) -> None:
    name = record_key("lock", None, "a")
    await leave_behind(store, "a", ttl=3600)
    (entry,) = await store.read("kvwrap.locks", [name])
    assert entry is not None
    await store.write("kvwrap.locks", [name], [entry.with_body(b"?", entry.codec)])

    async def acquire(wait: float) -> float:
        async with store.lock("a", ttl=0.2, wait=wait):
            return clock.monotonic()

    with pytest.raises(LockTimeout):
        await acquire(0)
    begun = clock.monotonic()
    assert await passing(clock, acquire(60)) - begun >= 0.2
