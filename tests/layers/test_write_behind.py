"""Writes acknowledged by the journal: order, reads, failures of the backend, closing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    PrefixCollection,
    Stack,
    StackWarning,
    Store,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


async def wait_until(reached: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for the journal's thread, which the manual clock does not control."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def store(backend: FaultyStore, path: Path) -> AsyncIterator[Store]:
    async with WriteBehind(path, max_wait=0, shutdown_timeout=60).over(backend) as opened:
        yield opened
        backend.gate.set()


async def test_a_write_returns_before_the_backend_has_it(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("k", {"n": 1})
    assert backend.completed == []
    assert store.find(WriteBehind).pending == 1
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert await backend.get("k") == {"n": 1}
    assert store.find(WriteBehind).pending == 0


DELETIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "delete_where": lambda store: store.delete_where(prefix="k"),
    "destroy_collection": lambda store: store.destroy_collection(None),
    "destroy": lambda store: store.destroy(),
}


@pytest.mark.parametrize("name", DELETIONS)
async def test_what_is_pending_is_sent_before_a_whole_range_is_deleted(
    store: Store, backend: FaultyStore, name: str
) -> None:
    layer = store.find(WriteBehind)
    backend.down = True
    await store.put("k", 1)
    await wait_until(lambda: layer.snapshot().failures)
    backend.down = False
    assert await DELETIONS[name](store)
    assert layer.pending == 0
    assert await backend.keys() == []


async def test_reads_see_pending_changes(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    await backend.put_many(["a", "b", "c"], [1, 2, 3])
    backend.down = True
    await store.put("a", 10)
    await store.put("x", 11, ttl=5)
    assert await store.delete("b")
    assert await store.get_many(["a", "b", "x"]) == [10, None, 11]
    with pytest.raises(StoreUnavailable):
        await store.get_many(["a", "c"])
    backend.down = False
    assert await store.get_many(["c", "a"]) == [3, 10]
    backend.down = True
    clock.advance(6)
    assert await store.get("x") is None


async def test_an_entry_that_expires_before_it_is_sent_uncovers_no_older_one(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    await backend.put("k", "old")
    backend.down = True
    await store.put("k", "new", ttl=5)
    clock.advance(6)
    backend.down = False
    await store.find(WriteBehind).flush()
    assert await store.get("k") is None
    assert await backend.get("k") is None
    # A backend may not take an entry that has expired, so it is told to remove its own.
    assert [call for call in backend.completed if call[0] == "remove"] == [("remove", None, ("k",))]


async def test_order_is_kept_and_of_one_key_only_the_newest_goes_out(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("first", 0)
    await ManualClock.settle()
    for key, value in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)]:
        await store.put(key, value)
    assert store.find(WriteBehind).pending == 4
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert backend.written() == ["first", "a", "c", "b"]
    assert await backend.get_many(["a", "b", "c"]) == [2, 2, 1]
    assert backend.count("write") == 2


async def test_a_write_during_the_sending_of_its_key_is_sent_too(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("k", "first")
    await ManualClock.settle()
    assert backend.count("write") == 1
    await store.put("k", "second")
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert await backend.get("k") == "second"


async def test_a_failure_stops_the_sending_until_the_pause_is_over(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await store.put("k", 1)
    await wait_until(lambda: backend.count("write") == 1)
    await clock.run(0.9)
    assert backend.count("write") == 1
    await clock.run(0.2)
    assert backend.count("write") == 2
    await clock.run(1.5)
    assert backend.count("write") == 2
    backend.down = False
    await clock.run(1)
    await wait_until(lambda: store.find(WriteBehind).pending == 0)
    assert await backend.get("k") == 1
    assert store.find(WriteBehind).snapshot().failures == 2


async def test_flush_raises_while_the_backend_is_down(store: Store, backend: FaultyStore) -> None:
    backend.down = True
    await store.put("k", 1)
    with pytest.raises(StoreUnavailable):
        await store.find(WriteBehind).flush()
    backend.down = False
    await store.find(WriteBehind).flush()
    assert await backend.get("k") == 1


async def test_operations_that_depend_on_the_backend_wait_for_pending_changes(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    await store.put("n", 1)
    assert await store.increment("n") == 2
    await store.put("n", 5)
    assert not await store.put_if_absent("n", 6)
    found = await store.get_versioned("n")
    assert found is not None
    await store.put("other", 1)
    assert await store.compare_and_put("n", 7, found.version)
    await store.put("m", 1)
    assert await store.expire("m", 5)
    await store.put("z", 1)
    assert await store.keys() == ["m", "n", "other", "z"]
    await store.put("k", 1, collection="c")
    assert await store.collections() == ["c"]
    assert await store.pop("n") == 7
    await store.put("y", 1)
    assert await store.destroy()
    assert await backend.keys() == []
    backend.down = True
    await store.put("k", 1)
    for refused in (store.increment("k"), store.keys(), store.destroy(), store.expire("k", 1)):
        with pytest.raises(StoreUnavailable):
            await refused


async def test_delete_returns_whether_there_was_an_entry_as_far_as_it_is_known(
    store: Store, backend: FaultyStore
) -> None:
    await backend.put("stored", 1)
    assert await store.delete_many(["stored", "nothing"]) == 1
    assert await store.delete("stored") is False
    backend.down = True
    assert await store.delete("unknown")
    await store.put("pending", 1)
    assert await store.delete("pending")
    assert not await store.delete("pending")


async def test_a_full_journal_refuses_at_once_or_waits(
    backend: FaultyStore, path: Path, clock: ManualClock
) -> None:
    layer = WriteBehind(path, max_pending=2, max_wait=3, shutdown_timeout=0)
    async with layer.over(backend) as store:
        backend.gate.clear()
        await store.put_many(["a", "b"], [1, 2])
        refused = asyncio.create_task(store.put("c", 3))
        await wait_until(lambda: clock.sleeping)
        clock.advance(3)
        with pytest.raises(StoreFull, match="nothing was accepted"):
            await refused
        waiting = asyncio.create_task(store.put("d", 4))
        await wait_until(lambda: clock.sleeping)
        assert not waiting.done()
        backend.gate.set()
        await waiting
        await store.find(WriteBehind).flush()
        assert await backend.keys() == ["a", "b", "d"]
        # A batch over the limit is accepted when nothing is pending.
        await store.put_many(numbered_keys(5), [0] * 5)


async def test_a_refused_change_does_not_hold_up_the_others(
    store: Store, backend: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    backend.write_errors = {"big": ValueTooLarge("over the limit")}
    backend.gate.clear()
    await store.put("before", 1)
    await ManualClock.settle()
    await store.put_many(["x", "big", "y"], [1, "secret-value", 2])
    backend.gate.set()
    await store.find(WriteBehind).flush()
    assert await backend.keys() == ["before", "x", "y"]
    (refused,) = await store.find(WriteBehind).refused()
    assert (refused.key, refused.reason) == ("big", "ValueTooLarge")
    assert store.find(WriteBehind).snapshot().refused == 1
    assert "'big'" in caplog.text
    assert "secret-value" not in caplog.text
    backend.write_errors = {}
    assert await store.find(WriteBehind).retry_refused() == 1
    await store.find(WriteBehind).flush()
    assert await backend.get("big") == "secret-value"
    assert await store.find(WriteBehind).refused() == []


async def test_a_newer_write_replaces_a_refused_change(store: Store, backend: FaultyStore) -> None:
    backend.write_errors = {"k": ValueTooLarge("over the limit")}
    await store.put("k", "big")
    await store.find(WriteBehind).flush()
    assert len(await store.find(WriteBehind).refused()) == 1
    backend.write_errors = {}
    await store.put("k", "small")
    await store.find(WriteBehind).flush()
    assert await store.find(WriteBehind).retry_refused() == 0
    assert await store.find(WriteBehind).discard_refused() == 0
    assert await backend.get("k") == "small"


async def test_closing_sends_pending_changes_and_keeps_those_it_cannot_send(
    path: Path, backend: FaultyStore, clock: ManualClock
) -> None:
    layer = WriteBehind(path)
    async with layer.over(backend) as store:
        await store.put("sent", 1)
    assert await backend.get("sent") == 1
    async with layer.over(backend) as store:
        backend.down = True
        await store.put("kept", {"n": 2}, collection="c", ttl=60)
    backend.down = False
    async with layer.over(backend) as store:
        await store.find(WriteBehind).flush()
        assert await store.ttl("kept", collection="c") == ({"n": 2}, 60.0)
    assert await backend.get("kept", collection="c") == {"n": 2}


async def test_closing_does_not_wait_for_a_backend_that_hangs(
    path: Path, backend: FaultyStore, clock: ManualClock
) -> None:
    layer = WriteBehind(path, shutdown_timeout=2)
    store = layer.over(backend)
    await store.open()
    backend.gate.clear()
    await store.put("k", 1)
    closing = asyncio.create_task(store.close())
    await wait_until(lambda: clock.sleeping)
    clock.advance(2)
    await closing
    backend.gate.set()
    async with layer.over(backend) as store:
        await store.find(WriteBehind).flush()
    assert await backend.get("k") == 1


async def test_without_opening_it_opens_at_the_first_use(path: Path, backend: FaultyStore) -> None:
    store = WriteBehind(path).over(backend)
    await store.put("k", 1)
    await store.find(WriteBehind).flush()
    assert await backend.get("k") == 1
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.put("k", 2)


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


class Guards(Layer):
    traits = frozenset({"guards"})


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda p: stack(WriteBehind(p), Encrypts()), "plaintext-journal"),
        (lambda p: stack(WriteBehind(p), WriteBehind(p.with_suffix(".2"))), "two-journals"),
        (lambda p: stack(WriteBehind(p), Guards()), "guard-inside-write-behind"),
        (lambda p: stack(Encrypts(), Guards(), WriteBehind(p)), None),
    ],
)
def test_known_mistakes_are_reported(
    path: Path, build: Callable[[Path], Stack], code: str | None
) -> None:
    layers = build(path)
    if code is None:
        layers.over(MemoryStore())
    else:
        with pytest.warns(StackWarning, match=code):
            layers.over(MemoryStore())
        assert layers.silence(code).over(MemoryStore()).findings == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"journal": ""},
        {"journal": ":memory:"},
        {"journal": 5},
        {"max_pending": 0},
        {"max_pending": 1.5},
        {"batch": -1},
        {"max_wait": -1},
        {"max_wait": float("nan")},
        {"retry_after": 0},
        {"shutdown_timeout": float("inf")},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="|".join(arguments)):
        WriteBehind(**{"journal": "journal", **arguments})  # type: ignore[arg-type]  # the point


async def test_it_works_inside_other_layers(path: Path, backend: FaultyStore) -> None:
    async with stack(PrefixCollection("app-"), WriteBehind(path)).over(backend) as store:
        await store.put("k", 1, collection="c")
        assert await store.get("k", collection="c") == 1
        assert await store.collections() == ["c"]
    assert await backend.collections() == ["app-c"]


async def test_it_is_idle_once_every_change_was_sent(store: Store, backend: FaultyStore) -> None:
    assert store.idle
    backend.gate.clear()
    await store.put("k", 1)
    assert not store.find(WriteBehind).idle
    backend.gate.set()
    await store.find(WriteBehind).flush()
    await wait_until(lambda: store.idle)


async def test_it_is_idle_when_closed_with_changes_in_the_journal(
    path: Path, backend: FaultyStore
) -> None:
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put("k", 1)
        assert not store.idle
    assert store.idle
    assert store.find(WriteBehind).pending == 1


async def test_ranges_are_counted_and_deleted_after_pending_changes_were_sent(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put_many(["a1", "a2", "b"], [1, 2, 3])
    counting = asyncio.create_task(store.count(prefix="a"))
    deleting = asyncio.create_task(store.delete_where(prefix="a"))
    await asyncio.sleep(0.01)
    assert not counting.done()
    assert not deleting.done()
    backend.gate.set()
    assert await counting in (0, 2)
    assert await deleting == 2
    assert await backend.keys() == ["b"]
    assert await store.get("a1") is None


async def test_several_refused_changes_are_sent_again(store: Store, backend: FaultyStore) -> None:
    layer = store.find(WriteBehind)
    backend.write_errors = {"a": ValueTooLarge("a"), "b": ValueTooLarge("b")}
    await store.put_many(["a", "b", "c"], [1, 2, 3])
    await layer.flush()
    assert [row.key for row in await layer.refused()] == ["a", "b"]
    backend.write_errors = {}
    assert await layer.retry_refused() == 2
    await layer.flush()
    assert await backend.get_many(["a", "b", "c"]) == [1, 2, 3]


async def test_what_a_removal_says_while_the_backend_is_down(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await store.put("pending", 1)
    await store.put("ends", 1, ttl=5)
    clock.advance(5)
    removed = await store.remove(None, ["pending", "ends", "unknown"])
    assert removed == [True, False, True]


async def test_refused_changes_are_discarded_by_a_stack_that_was_not_opened(
    path: Path, backend: FaultyStore
) -> None:
    backend.write_errors = {"k": ValueTooLarge("k")}
    async with WriteBehind(path).over(backend) as store:
        await store.put("k", 1)
        await store.find(WriteBehind).flush()
    store = WriteBehind(path).over(backend)
    assert await store.find(WriteBehind).discard_refused() == 1
    await store.close()
