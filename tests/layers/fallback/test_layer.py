"""Reads in an outage, the breaker, and what becomes of writes in each mode."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    CircuitOpen,
    ConfigurationError,
    CorruptEntry,
    MemoryStore,
    RateLimited,
    Stack,
    StackWarning,
    Store,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.fallback import Fallback
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


def part(store: Store) -> Fallback:
    return store.find(Fallback)


async def until(reached: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for the journal's thread, which no clock of ours controls."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.001)


# -- reading ---------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable("x"), StoreTimeout("x"), CircuitOpen("x")])
async def test_reads_go_on_from_the_other_store(
    backend: FaultyStore, other: FaultyStore, error: Exception
) -> None:
    await backend.put_many(["a", "b"], [1, 2])
    await other.put_many(["a", "b"], [1, 2])
    store = Fallback(other).over(backend)
    assert await store.get("a") == 1
    assert other.count("read") == 0
    backend.down = error
    assert await store.get_many(["a", "b", "c"]) == [1, 2, None]
    assert await store.ttl("a") == (1, None)
    assert await store.keys() == ["a", "b"]
    assert await store.exists("b")
    assert part(store).snapshot().fallback_reads == 6
    backend.down = False
    assert await store.get("a") == 1


@pytest.mark.parametrize("error", [CorruptEntry("x"), ValueTooLarge("x"), RuntimeError("x")])
async def test_other_errors_are_not_fallen_back_from(
    backend: FaultyStore, other: FaultyStore, error: Exception
) -> None:
    store = Fallback(other).over(backend)
    backend.down = error
    for _ in range(5):
        with pytest.raises(type(error)):
            await store.get("a")
    assert other.count("read") == 0
    assert part(store).snapshot().state == "closed"


async def test_a_dead_backend_is_left_alone_and_tried_again_by_one_call(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    await other.put("a", "other")
    await backend.put("a", "inner")
    store = Fallback(other, failures=3, open_for=10).over(backend)
    backend.calls.clear()
    backend.down = StoreTimeout("slow")
    for _ in range(20):
        assert await store.get("a") == "other"
    assert backend.count("read") == 3
    assert part(store).snapshot().state == "open"
    clock.advance(10)
    assert await store.get("a") == "other"
    assert backend.count("read") == 4
    clock.advance(10)
    backend.down = False
    backend.gate.clear()
    probe = asyncio.create_task(store.get("a"))
    await ManualClock.settle()
    assert await store.get("a") == "other"
    assert backend.count("read") == 5
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    backend.gate.set()
    # The cancelled probe made room for the next.
    assert await store.get("a") == "inner"
    snapshot = part(store).snapshot()
    assert (snapshot.state, snapshot.outages) == ("closed", 2)


async def test_a_limit_of_our_own_is_no_outage(backend: FaultyStore, other: FaultyStore) -> None:
    store = Fallback(other, failures=1).over(backend)
    backend.down = RateLimited("no room")
    assert await store.get("a") is None
    backend.down = False
    await backend.put("a", 1)
    assert await store.get("a") == 1


async def test_when_neither_answers_both_are_told(backend: FaultyStore, other: FaultyStore) -> None:
    store = Fallback(other).over(backend)
    backend.down = StoreUnavailable("inner is gone")
    other.down = StoreUnavailable("other is gone")
    with pytest.raises(StoreUnavailable, match=r"neither.*inner is gone") as caught:
        await store.get("a")
    assert caught.value.__cause__ is other.down
    other.down = CorruptEntry("damaged")
    with pytest.raises(CorruptEntry):
        await store.get("a")


async def test_an_enumeration_stays_with_the_store_it_began_in(
    backend: FaultyStore, other: FaultyStore
) -> None:
    keys = numbered_keys(1200)
    await other.put_many(keys, [0] * 1200)
    store = Fallback(other).over(backend)
    backend.down = True
    scan = store.scan()
    found = [await anext(scan)]
    backend.down = False
    found += [key async for key in scan]
    assert found == sorted(keys)
    await backend.put_many(keys, [0] * 1200)
    scan = store.scan()
    await anext(scan)
    backend.down = True
    with pytest.raises(StoreUnavailable):
        _ = [key async for key in scan]


async def test_no_capability_is_lost_to_the_other_store(backend: FaultyStore) -> None:
    class Plain(MemoryStore):
        capabilities = frozenset({Capability.KEYS})

    store = Fallback(Plain).over(backend)
    assert store.capabilities == backend.capabilities
    await store.put("a", 1)
    assert await store.keys() == ["a"]
    backend.down = True
    with pytest.raises(StoreUnavailable, match="down"):
        await store.keys()
    both = Fallback(Plain, writes="both").over(MemoryStore())
    assert Capability.DESTROY not in both.capabilities


# -- writing: refuse and both ----------------------------------------------------------


async def test_refused_writes_raise_and_reach_neither(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Fallback(other, failures=1).over(backend)
    await store.put("a", 1)
    backend.down = True
    for refused in (store.put("a", 2), store.delete("a"), store.increment("n"), store.destroy()):
        with pytest.raises(StoreUnavailable):
            await refused
    assert [call for call in other.calls if call[0] != "read"] == []
    assert backend.count("write") == 2
    backend.down = False
    assert await backend.get("a") == 1


async def test_both_keeps_the_other_store_up_to_date(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = Fallback(other, writes="both").over(backend)
    await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=60)
    await store.delete("b")
    await store.increment("n", 5)
    assert not await store.put_if_absent("a", 9)
    assert await store.expire("a", 5)
    await store.put("x", 1, collection="gone")
    await store.destroy_collection("gone")
    backend.down = True
    assert await store.get_many(["a", "b", "c", "n"]) == [1, None, 3, 5]
    assert await store.keys() == ["a", "c", "n"]
    assert await store.collections() == []
    clock.advance(6)
    assert await store.get("a") is None
    with pytest.raises(StoreUnavailable):
        await store.put("a", 2)
    assert await other.get("a") is None
    backend.down = False
    clock.advance(10)
    assert await store.destroy()
    assert await other.keys() == []


async def test_a_copy_that_fails_does_not_fail_the_write(
    backend: FaultyStore, other: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store = Fallback(other, writes="both", failures=2).over(backend)
    other.down = True
    for number in range(5):
        await store.put(f"k{number}", "secret-value")
    assert await store.delete("k0")
    assert len(backend) == 4
    assert part(store).snapshot().copy_failures == 6
    assert other.count("write") == 2
    assert "secret-value" not in caplog.text
    assert "missed a write" in caplog.text


async def test_what_was_done_of_a_failed_batch_is_copied(
    other: FaultyStore, clock: ManualClock
) -> None:
    bad = FaultyStore(clock=clock)
    inner = stack().route({"b*": bad}, by="key").over(MemoryStore(clock=clock))
    store = Fallback(other, writes="both").over(inner)
    bad.down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(["a1", "b1", "a2"], [1, 2, 3])
    assert caught.value.succeeded == ("a1", "a2")
    assert await other.keys() == ["a1", "a2"]


async def test_a_cancelled_write_is_not_copied(backend: FaultyStore, other: FaultyStore) -> None:
    store = Fallback(other, writes="both").over(backend)
    backend.gate.clear()
    write = asyncio.create_task(store.put("a", 1))
    await ManualClock.settle()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    backend.gate.set()
    assert len(other) == 0


# -- writing: journal ------------------------------------------------------------------


@pytest.fixture
async def journaled(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> AsyncIterator[Store]:
    layer = Fallback(
        other,
        writes="journal",
        journal=tmp_path / "journal",
        failures=2,
        open_for=10,
        recovery_delay=1,
    )
    async with layer.over(backend) as store:
        yield store


async def recovered(store: Store, clock: ManualClock) -> None:
    """Let the outage end: the pause, the barrier, and the sending."""
    await clock.run(10)
    await clock.run(1)
    await until(lambda: part(store).snapshot().pending == 0)


async def test_what_is_accepted_in_an_outage_is_seen_and_then_replayed(
    journaled: Store, backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = journaled
    await store.put_many(["a", "b", "c"], [1, 2, 3])
    backend.down = True
    await store.put("a", 10)
    assert await store.delete_many(["b", "b", "nothing"]) == 1
    await store.put("d", 4, collection="new", ttl=1000)
    await store.put("a", 11)
    assert await store.get_many(["a", "b", "c"]) == [11, None, 3]
    assert await store.keys() == ["a", "c"]
    assert await store.collections() == ["new"]
    assert part(store).snapshot().pending == 4
    backend.down = False
    backend.completed.clear()
    await recovered(store, clock)
    assert await backend.get_many(["a", "b", "c"]) == [11, None, 3]
    assert await backend.ttl("d", collection="new") == (4, 989.0)
    # In the order of acceptance, and the newest of a key only.
    changes = [(name, keys) for name, _, keys in backend.completed if name in ("write", "remove")]
    assert changes == [("remove", ("b", "nothing")), ("write", ("d",)), ("write", ("a",))]
    snapshot = part(store).snapshot()
    assert (snapshot.pending, snapshot.replayed) == (0, 4)
    await store.put("a", 12)
    assert await backend.get("a") == 12


async def test_a_barrier_stands_before_the_replay(
    journaled: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await journaled.put("a", 1)
    await until(lambda: clock.sleeping)
    backend.down = False
    await clock.run(10)
    assert len(backend) == 0
    # In the barrier, writes queue and reads see them.
    await journaled.put("b", 2)
    assert len(backend) == 0
    assert await journaled.get_many(["a", "b"]) == [1, 2]
    await clock.run(1)
    await until(lambda: part(journaled).snapshot().pending == 0)
    assert await backend.get_many(["a", "b"]) == [1, 2]


async def test_a_newer_write_cancels_the_pending_one(
    journaled: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await journaled.put_many(["a", "b"], ["old", "old"])
    backend.down = False
    backend.gate.clear()
    await clock.run(11)
    await journaled.put("a", "new")
    backend.gate.set()
    await recovered(journaled, clock)
    assert await backend.get_many(["a", "b"]) == ["new", "old"]
    assert backend.written()[-1] == "a"


async def test_the_replay_stops_at_a_failure_and_waits(
    journaled: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    for number in range(3):
        await journaled.put("k", number, collection=f"c{number}")
    backend.down = False
    sent: list[str] = []
    write = backend.write

    async def second_fails(collection: str, *arguments: object) -> list[bool]:
        sent.append(collection)
        if len(sent) == 2:
            raise StoreUnavailable("gone again")
        return await write(collection, *arguments)  # type: ignore[arg-type]  # as given

    backend.write = second_fails  # type: ignore[method-assign,assignment]  # to count
    part(journaled).inner = backend
    await recovered_once(journaled, clock)
    assert sent == ["c0", "c1"]
    await recovered(journaled, clock)
    assert sent == ["c0", "c1", "c1", "c2"]


async def recovered_once(store: Store, clock: ManualClock) -> None:
    await clock.run(10)
    await clock.run(1)
    await until(lambda: part(store).snapshot().pending == 2 and clock.sleeping)


async def test_what_depends_on_the_backend_raises_in_the_outage(
    journaled: Store, backend: FaultyStore
) -> None:
    await journaled.put("k", 1)
    backend.down = True
    await journaled.put("k", 2)
    for refused in (
        journaled.increment("k"),
        journaled.put_if_absent("k", 1),
        journaled.expire("k", 5),
        journaled.destroy(),
        journaled.destroy_collection("c"),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
    assert await journaled.get("k") == 2
    backend.down = False


async def test_after_the_outage_conditions_see_what_was_accepted(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path, clock: ManualClock
) -> None:
    layer = Fallback(other, writes="journal", journal=tmp_path / "j", failures=9, recovery_delay=0)
    async with layer.over(backend) as store:
        backend.down = True
        await store.put("n", 41)
        backend.down = False
        assert await store.increment("n") == 42
        assert await backend.get("n") == 42


async def test_a_full_backend_is_no_outage(journaled: Store, backend: FaultyStore) -> None:
    backend.down = StoreFull("no room")
    with pytest.raises(StoreFull):
        await journaled.put("k", 1)
    assert part(journaled).snapshot().pending == 0


async def test_the_journal_has_a_limit(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    layer = Fallback(other, writes="journal", journal=tmp_path / "j", max_pending=2)
    async with layer.over(backend) as store:
        backend.down = True
        await store.put_many(["a", "b"], [1, 2])
        with pytest.raises(StoreFull, match="nothing was accepted"):
            await store.put("c", 3)
        # What replaces a pending change needs no room.
        await store.put("a", 4)
        assert await store.get("a") == 4


async def test_without_the_other_store_the_journal_still_answers(
    journaled: Store, backend: FaultyStore, other: FaultyStore
) -> None:
    backend.down = other.down = True
    await journaled.put("a", 1)
    assert await journaled.get("a") == 1
    with pytest.raises(StoreUnavailable):
        await journaled.get("b")


async def test_the_outage_may_outlast_the_process(
    backend: FaultyStore, tmp_path: Path, clock: ManualClock
) -> None:
    def layer() -> Fallback:
        return Fallback(
            lambda: MemoryStore(clock=clock),
            writes="journal",
            journal=tmp_path / "j",
            recovery_delay=0,
        )

    await backend.put("b", 1)
    backend.down = True
    async with layer().over(backend) as store:
        await store.put("a", {"n": 1})
        await store.delete("b")
    async with layer().over(backend) as store:
        assert await store.get_many(["a", "b"]) == [{"n": 1}, None]
        assert await store.keys() == ["a"]
    backend.down = False
    async with layer().over(backend) as store:
        await part(store).flush()
    assert await backend.get_many(["a", "b"]) == [{"n": 1}, None]


KILLED = """
import asyncio, sys
from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.layers.fallback import Fallback

class Down(MemoryStore):
    async def write(self, *arguments):
        raise StoreUnavailable("down")
    async def ping(self):
        raise StoreUnavailable("down")

async def main():
    layer = Fallback(MemoryStore, writes="journal", journal=sys.argv[1])
    async with layer.over(Down()) as store:
        for number in range(1_000_000):
            await store.put(f"k{number % 20}", number)
            print(number, flush=True)

asyncio.run(main())
"""


async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(100)]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
    numbers = [int(line) for line in lines if line.endswith("\n")]
    assert len(numbers) >= 100
    newest = {f"k{number % 20}": number for number in numbers}
    file = tmp_path / "entries.db"
    layer = Fallback(MemoryStore, writes="journal", journal=path, recovery_delay=0)
    async with layer.over(SQLiteStore(file)) as store:
        await part(store).flush()
    async with SQLiteStore(file) as backend:
        for key, number in newest.items():
            assert await backend.get(key) in (number, number + 20)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("pdogx"), st.integers(0, 4)), max_size=30))
def test_whatever_happens_reads_and_the_backend_agree_in_the_end(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def run() -> None:
        path = tmp_path_factory.mktemp("journal") / "j"
        model: dict[str, int] = {}
        async with FaultyStore() as backend:
            layer = Fallback(
                MemoryStore,
                writes="journal",
                journal=path,
                open_for=0.001,
                recovery_delay=0,
                failures=1,
            )
            async with layer.over(backend) as store:
                for number, (step, which) in enumerate(steps):
                    key = f"k{which}"
                    match step:
                        case "p":
                            await store.put(key, number)
                            model[key] = number
                        case "d":
                            assert await store.delete(key) == (key in model)
                            model.pop(key, None)
                        case "o":
                            backend.down = not backend.down
                        case "x":
                            await asyncio.sleep(0.002)
                        case _:
                            assert await store.get(key) == model.get(key)
                    assert await store.keys() == sorted(model)
                backend.down = False
                await asyncio.sleep(0.002)
                await part(store).flush()
            assert {key: await backend.get(key) for key in await backend.keys()} == model

    asyncio.run(run())


# -- its place, and what is refused ----------------------------------------------------


def trait(name: str) -> Layer:
    return type(name.title(), (Layer,), {"traits": frozenset({name})})()


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        (lambda p: stack(Fallback(OnDisk), trait("encrypts")), "plaintext-second-store"),
        (lambda p: stack(trait("retries"), Fallback(MemoryStore)), "retry-outside-fallback"),
        (lambda p: stack(trait("breaks"), Fallback(MemoryStore)), "retry-outside-fallback"),
        (lambda p: stack(Fallback(MemoryStore), trait("caches")), "cache-inside-fallback"),
        (
            lambda p: stack(Fallback(MemoryStore, writes="journal", journal=p), trait("encrypts")),
            "plaintext-journal",
        ),
        (lambda p: stack(Fallback(MemoryStore), trait("encrypts")), None),
        (
            lambda p: stack(trait("caches"), trait("encrypts"), Fallback(OnDisk), trait("retries")),
            None,
        ),
    ],
)
def test_known_mistakes_are_told(
    tmp_path: Path, layers: Callable[[Path], Stack], code: str | None
) -> None:
    made = layers(tmp_path / "j")
    if code is None:
        assert made.over(MemoryStore()).findings == ()
    else:
        with pytest.warns(StackWarning, match=code):
            made.over(MemoryStore())


@pytest.mark.parametrize(
    "arguments",
    [
        {"writes": "maybe"},
        {"writes": "journal"},
        {"journal": "j"},
        {"writes": "both", "journal": "j"},
        {"writes": "journal", "journal": ""},
        {"failures": 0},
        {"open_for": 0},
        {"recovery_delay": -1},
        {"max_pending": 0},
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Fallback(MemoryStore, **arguments)  # type: ignore[arg-type]  # that is the point


async def test_the_other_store_is_opened_and_closed_with_the_stack(tmp_path: Path) -> None:
    other = SQLiteStore(tmp_path / "other.db")
    async with stack().fallback(other, writes="both").over(MemoryStore()) as store:
        assert other.is_open
        await store.put("k", 1)
    assert other.is_closed
    lazily = SQLiteStore(tmp_path / "lazily.db")
    store = stack().fallback(lazily, writes="both").over(MemoryStore())
    await store.put("k", 1)
    assert lazily.is_open
    await store.close()
    assert lazily.is_closed


async def test_a_fallback_may_fall_back_itself(backend: FaultyStore, other: FaultyStore) -> None:
    last = MemoryStore()
    await last.put("k", "last")
    store = Fallback(Fallback(last).over(other)).over(backend)
    backend.down = other.down = True
    assert await store.get("k") == "last"
