"""Writes in an outage with `writes="journal"`, and their replay."""

from __future__ import annotations

import asyncio
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
    MemoryStore,
    Store,
    StoreFull,
    StoreUnavailable,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


async def wait_until(reached: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for the journal's thread, which the manual clock does not control."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.001)


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


async def recover(store: Store, clock: ManualClock) -> None:
    """End the outage: wait for the pause, the recovery delay and the sending."""
    await clock.run(10)
    await clock.run(1)
    await wait_until(lambda: store.find(Fallback).snapshot().pending == 0)


async def test_changes_accepted_in_an_outage_are_seen_and_then_replayed(
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
    assert store.find(Fallback).snapshot().pending == 4
    backend.down = False
    backend.completed.clear()
    await recover(store, clock)
    assert await backend.get_many(["a", "b", "c"]) == [11, None, 3]
    assert await backend.ttl("d", collection="new") == (4, 989.0)
    # In the order of acceptance, and the newest of a key only.
    changes = [(name, keys) for name, _, keys in backend.completed if name in ("write", "remove")]
    assert changes == [("remove", ("b", "nothing")), ("write", ("d",)), ("write", ("a",))]
    snapshot = store.find(Fallback).snapshot()
    assert (snapshot.pending, snapshot.replayed) == (0, 4)
    await store.put("a", 12)
    assert await backend.get("a") == 12


async def test_the_replay_waits_for_the_recovery_delay(
    journaled: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await journaled.put("a", 1)
    await wait_until(lambda: clock.sleeping)
    backend.down = False
    await clock.run(10)
    assert len(backend) == 0
    # During the recovery delay, writes queue and reads see them.
    await journaled.put("b", 2)
    assert len(backend) == 0
    assert await journaled.get_many(["a", "b"]) == [1, 2]
    await clock.run(1)
    await wait_until(lambda: journaled.find(Fallback).snapshot().pending == 0)
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
    await recover(journaled, clock)
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
    journaled.find(Fallback).inner = backend
    await replay_until_it_fails(journaled, clock)
    assert sent == ["c0", "c1"]
    await recover(journaled, clock)
    assert sent == ["c0", "c1", "c1", "c2"]


async def replay_until_it_fails(store: Store, clock: ManualClock) -> None:
    await clock.run(10)
    await clock.run(1)
    await wait_until(lambda: store.find(Fallback).snapshot().pending == 2 and clock.sleeping)


async def test_operations_that_depend_on_the_backend_raise_in_the_outage(
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


async def test_after_the_outage_conditional_writes_see_the_accepted_changes(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path, clock: ManualClock
) -> None:
    layer = Fallback(other, writes="journal", journal=tmp_path / "j", failures=9, recovery_delay=0)
    async with layer.over(backend) as store:
        backend.down = True
        await store.put("n", 41)
        backend.down = False
        assert await store.increment("n") == 42
        assert await backend.get("n") == 42


async def test_a_full_backend_is_not_an_outage(journaled: Store, backend: FaultyStore) -> None:
    backend.down = StoreFull("no room")
    with pytest.raises(StoreFull):
        await journaled.put("k", 1)
    assert journaled.find(Fallback).snapshot().pending == 0


async def test_the_journal_has_a_limit(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    layer = Fallback(other, writes="journal", journal=tmp_path / "j", max_pending=2)
    async with layer.over(backend) as store:
        backend.down = True
        await store.put_many(["a", "b"], [1, 2])
        with pytest.raises(StoreFull, match="nothing was accepted"):
            await store.put("c", 3)
        # A change that replaces a pending one needs no room.
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
        await store.find(Fallback).flush()
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
        await store.find(Fallback).flush()
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
                await store.find(Fallback).flush()
            assert {key: await backend.get(key) for key in await backend.keys()} == model

    asyncio.run(run())


async def test_it_is_idle_once_the_accepted_changes_were_sent(
    journaled: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    await journaled.put("a", 1)
    assert journaled.idle
    backend.down = True
    await journaled.put("a", 2)
    assert not journaled.idle
    backend.down = False
    await recover(journaled, clock)
    await wait_until(lambda: journaled.idle)
    assert await backend.get("a") == 2


async def test_without_an_outage_names_are_those_of_the_inner_store(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    await backend.put("k", 1, collection="c")
    layer = Fallback(other, writes="journal", journal=tmp_path / "names")
    async with layer.over(backend) as store:
        assert await store.collections() == ["c"]
        assert await store.keys("c") == ["k"]
        assert await store.count(collection="c") == 1


async def test_while_changes_are_pending_names_are_those_of_the_other_store(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    """Also if the inner store answers: it does not have them all."""
    path = tmp_path / "names"
    layer = Fallback(other, writes="journal", journal=path, failures=100, recovery_delay=0)
    async with layer.over(backend) as store:
        await store.put("old", 0, collection="c")
        backend.write_errors = {"new": StoreUnavailable("takes no writes")}
        await store.put("new", 1, collection="d")
        assert await store.collections() == ["c", "d"]
        assert await store.keys("d") == ["new"]
        assert await store.count(collection="d") == 1
