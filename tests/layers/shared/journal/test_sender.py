"""What a journal sends: entries that the backend never takes, batches that are too much, order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    KvwrapError,
    Store,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
)
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


class Slow(FaultyStore):
    """Does not carry out more than `most` writes or removals in one call."""

    most = 3
    is_busy = False

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        if self.is_busy and primitive == "ping":
            raise StoreTimeout("busy")
        if primitive in ("write", "remove") and len(arguments[1]) > self.most:
            self.calls.append((primitive, arguments[0], tuple(arguments[1])))
            raise StoreTimeout("slow")
        return await super().call(primitive, arguments)


@pytest.fixture
async def slow(clock: ManualClock) -> AsyncIterator[Slow]:
    async with Slow(clock=clock) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def store(backend: FaultyStore, path: Path) -> AsyncIterator[Store]:
    async with WriteBehind(path, max_wait=0, shutdown_timeout=60).over(backend) as opened:
        yield opened
        backend.gate.set()
        backend.down = False
        backend.write_errors = {}


async def run_until(clock: ManualClock, store: Store, *, pending: int, seconds: int) -> int:
    """Move the clock until this many changes are pending; return the seconds that it took."""
    for passed in range(seconds):
        async with asyncio.timeout(30):
            while store.find(WriteBehind).pending != pending and not clock.sleeping:
                await asyncio.sleep(0.001)
        if store.find(WriteBehind).pending == pending:
            return passed
        await clock.run(1)
    raise AssertionError(f"{store.find(WriteBehind).snapshot()} after {seconds} s")


@pytest.mark.parametrize("error", [StoreUnavailable("reset"), StoreTimeout("late"), OSError("bug")])
async def test_an_entry_that_always_fails_is_set_aside_once_another_was_taken(
    store: Store, backend: FaultyStore, clock: ManualClock, error: Exception
) -> None:
    backend.write_errors = {"poison": error}
    await store.put("before", 1)
    await store.put("poison", "value")
    await store.delete("gone")  # a removal that succeeds says nothing about writes
    await store.put_many(["x", "y"], [1, 2])
    await run_until(clock, store, pending=0, seconds=200)
    assert await backend.keys() == ["before", "x", "y"]
    (refused,) = await store.find(WriteBehind).refused()
    assert (refused.key, refused.reason) == ("poison", type(error).__name__)
    assert await store.keys() == ["before", "x", "y"]
    backend.write_errors = {}
    assert await store.find(WriteBehind).retry_refused() == 1
    await store.find(WriteBehind).flush()
    assert await backend.get("poison") == "value"


async def test_a_batch_of_two_is_halved_too(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.write_errors = {"poison": StoreUnavailable("reset")}
    backend.down = True
    await store.put_many(["good", "poison"], [1, 2])
    backend.down = False
    await run_until(clock, store, pending=1, seconds=60)
    assert await backend.keys() == ["good"]
    await store.put("other", 3)
    await run_until(clock, store, pending=0, seconds=600)
    assert [row.key for row in await store.find(WriteBehind).refused()] == ["poison"]


async def test_several_entries_that_always_fail_hold_nothing_up(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    bad = numbered_keys(4, "bad")
    backend.write_errors = dict.fromkeys(bad, StoreUnavailable("reset"))
    backend.gate.clear()
    await store.put_many([*bad, "good", "better"], list(range(6)))
    backend.gate.set()
    await run_until(clock, store, pending=2, seconds=1000)
    assert await backend.keys() == ["better", "good"]
    await store.put("last", 1)
    await run_until(clock, store, pending=1, seconds=1000)
    assert await backend.keys() == ["better", "good", "last"]
    assert [row.key for row in await store.find(WriteBehind).refused()] == bad[:3]


class RefusesRemovals(FaultyStore):
    """Fails to remove one key, without a reason."""

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        if primitive == "remove" and "poison" in arguments[1]:
            self.calls.append((primitive, arguments[0], tuple(arguments[1])))
            raise StoreUnavailable("reset")
        return await super().call(primitive, arguments)


async def test_a_removal_that_always_fails_is_set_aside_once_a_write_was_taken(
    path: Path, clock: ManualClock
) -> None:
    backend = RefusesRemovals(clock=clock)
    async with WriteBehind(path, shutdown_timeout=0).over(backend) as store:
        backend.down = True
        await store.find(WriteBehind).remove(None, ["poison"], None)
        await store.put_many(["a", "b"], [1, 2])
        backend.down = False
        await run_until(clock, store, pending=0, seconds=400)
        (refused,) = await store.find(WriteBehind).refused()
        assert refused.key == "poison"
        assert await backend.get_many(["a", "b"]) == [1, 2]


async def test_a_write_that_always_fails_holds_up_no_removals_and_is_judged_by_the_next_write(
    store: Store, backend: FaultyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    layer = store.find(WriteBehind)
    await store.put_many(["a", "b"], [1, 2])
    await layer.flush()
    backend.write_errors = {"poison": StoreUnavailable("reset")}
    backend.down = True
    await store.put("poison", 1)
    await layer.remove(None, ["a"], None)
    await layer.remove("c", ["b"], None)
    backend.down = False
    await run_until(clock, store, pending=1, seconds=400)
    assert await backend.keys() == ["b"]
    for _ in range(20):
        await clock.run(30)
    assert layer.pending == 1
    assert await layer.refused() == []
    (warning,) = [record.message for record in caplog.records if "poison" in record.message]
    assert "always fails with StoreUnavailable although the backend answers; it stays" in warning
    await layer.remove(None, ["b"], None)
    await run_until(clock, store, pending=1, seconds=60)
    assert await backend.keys() == []
    await store.put("good", 1)
    await run_until(clock, store, pending=0, seconds=60)
    assert [row.key for row in await layer.refused()] == ["poison"]


async def test_a_write_that_always_failed_is_forgotten_when_it_is_replaced(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    layer = store.find(WriteBehind)
    backend.write_errors = {"k": StoreUnavailable("reset")}
    await store.put("k", 1)
    for _ in range(20):
        await clock.run(30)
    await store.put("k", 2)
    await layer.remove(None, ["a"], None)
    backend.write_errors = {}
    await layer.flush()
    assert await backend.get("k") == 2
    assert await layer.refused() == []


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreTimeout("down"), StoreFull("x")])
async def test_in_an_outage_nothing_is_set_aside(
    store: Store, backend: FaultyStore, clock: ManualClock, error: Exception
) -> None:
    backend.down = error
    await store.put_many(["a", "b", "c"], [1, 2, 3])
    for _ in range(40):
        await clock.run(30)
    assert store.find(WriteBehind).pending == 3
    assert await store.find(WriteBehind).refused() == []
    backend.down = False
    await store.find(WriteBehind).flush()
    assert await backend.keys() == ["a", "b", "c"]


async def test_a_backend_that_takes_no_writes_at_all_is_an_outage(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    """As a read-only replica, which answers everything else."""
    keys = numbered_keys(5)
    backend.write_errors = dict.fromkeys(keys, StoreUnavailable("READONLY"))
    await store.put_many(keys, [0] * 5)
    for _ in range(40):
        await clock.run(30)
    assert store.find(WriteBehind).pending == 5
    assert await store.find(WriteBehind).refused() == []
    backend.write_errors = {}
    await store.find(WriteBehind).flush()
    assert len(backend) == 5


async def test_a_key_is_not_held_up_by_another_that_fails(
    store: Store, backend: FaultyStore
) -> None:
    await store.put("n", 1)
    await store.find(WriteBehind).flush()
    backend.write_errors = {"poison": StoreUnavailable("reset")}
    await store.put("poison", 1)
    assert await store.increment("n") == 2
    with pytest.raises(StoreUnavailable):
        await store.increment("poison")


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_batch_that_takes_too_long_is_halved_until_it_goes_through(
    slow: Slow, path: Path, clock: ManualClock, is_busy: bool
) -> None:
    keys = numbered_keys(40)
    slow.is_busy = is_busy  # with the batch: then it does not answer a ping either
    async with WriteBehind(path, shutdown_timeout=0).over(slow) as store:
        slow.down = True
        await store.put_many(keys, list(range(40)))
        slow.down = False
        await run_until(clock, store, pending=0, seconds=200)
        assert slow.written() == keys, "all in their order, each once"
        assert await store.find(WriteBehind).refused() == []
        slow.most = 1000
        slow.completed.clear()
        for _ in range(12):
            await store.put_many(keys, list(range(40)))
            await run_until(clock, store, pending=0, seconds=60)
        sizes = [len(call[2]) for call in slow.completed if call[0] == "write"]
        assert sizes[-1] == 40, "batches grow again"


async def test_a_batch_has_at_most_eight_mebibytes_and_one_value(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put_many(numbered_keys(6), ["x" * 3_000_000] * 6)
    backend.gate.set()
    await store.find(WriteBehind).flush()
    sizes = [len(call[2]) for call in backend.completed if call[0] == "write"]
    assert sizes == [3, 3]


async def test_changes_are_sent_in_the_order_of_acceptance(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("first", 0)
    await ManualClock.settle()
    await store.put("a", 1)
    backend.down = StoreUnavailable("down")  # so that delete need not ask
    deletion = asyncio.create_task(store.delete("b"))
    await ManualClock.settle()
    backend.gate.set()
    await deletion
    await store.put("c", 3)
    await store.put("d", 4, collection="other")
    await store.put("e", 5)
    backend.down = False
    backend.completed.clear()
    await store.find(WriteBehind).flush()
    sent = [call for call in backend.completed if call[0] in ("write", "remove")]
    assert sent == [
        ("write", None, ("first", "a")),
        ("remove", None, ("b",)),
        ("write", None, ("c",)),
        ("write", "other", ("d",)),
        ("write", None, ("e",)),
    ]


async def test_flush_ends_while_others_go_on_writing(store: Store, backend: FaultyStore) -> None:
    backend.gate.clear()
    await store.put("a", 1)
    flushing = asyncio.create_task(store.find(WriteBehind).flush())
    await ManualClock.settle()
    await store.put("b", 2)
    original = backend.call

    async def hold_b(primitive: str, arguments: tuple[Any, ...]) -> Any:
        if primitive == "write" and "b" in arguments[1]:
            await held.wait()
        return await original(primitive, arguments)

    held = asyncio.Event()
    backend.call = hold_b  # type: ignore[method-assign]  # to hold back one key
    backend.gate.set()
    async with asyncio.timeout(30):
        await flushing
    assert store.find(WriteBehind).pending == 1
    held.set()


async def test_what_a_failed_batch_has_carried_out_is_not_sent_again(
    store: Store, backend: FaultyStore
) -> None:
    error = StoreUnavailable("half-way", succeeded=("a",))
    backend.gate.clear()
    backend.down = error
    await store.put_many(["a", "b"], [1, 2])
    backend.gate.set()
    with pytest.raises(KvwrapError):
        await store.find(WriteBehind).flush()
    assert store.find(WriteBehind).pending == 1
    backend.down = False
    await store.find(WriteBehind).flush()
    assert backend.written() == ["b"]
    assert store.find(WriteBehind).snapshot().sent == 2


@pytest.mark.parametrize(
    ("error", "logged"), [(OSError("bug"), ["OSError: bug"]), (StoreUnavailable("down"), [])]
)
async def test_only_an_error_that_no_store_should_raise_is_logged_with_its_traceback(
    store: Store,
    backend: FaultyStore,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    logged: list[str],
) -> None:
    backend.down = error
    await store.put("k", 1)
    with pytest.raises(type(error)):
        await store.find(WriteBehind).flush()
    texts = [record.exc_text for record in caplog.records if "sending failed" in record.message]
    assert [text.splitlines()[-1] for text in texts if text] == logged


async def test_a_refused_change_tells_its_collection(store: Store, backend: FaultyStore) -> None:
    backend.write_errors = {"k": KvwrapError("no")}
    await store.put("k", 1, collection="c")
    await store.find(WriteBehind).flush()
    (refused,) = await store.find(WriteBehind).refused()
    assert (refused.collection, refused.key) == ("c", "k")


async def test_of_a_refused_batch_what_the_backend_does_not_answer_is_sent_later(
    store: Store, backend: FaultyStore
) -> None:
    layer = store.find(WriteBehind)
    backend.gate.clear()
    await store.put("first", 0)
    await store.put_many(["a", "b", "c", "d"], [1, 2, 3, 4])
    backend.write_errors = {"b": KvwrapError("no"), "c": StoreUnavailable("reset")}
    flushing = asyncio.create_task(layer.flush())
    backend.gate.set()
    with pytest.raises(StoreUnavailable, match="reset"):
        await flushing
    assert [row.key for row in await layer.refused()] == ["b"]
    assert (layer.pending, layer.snapshot().failures) == (2, 1)
    assert ("write", None, ("d",)) not in backend.calls  # it is an outage, also for this one
    backend.write_errors = {}
    await layer.flush()
    assert await backend.keys() == ["a", "c", "d", "first"]
