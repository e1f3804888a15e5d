"""The journal and what it promises: order, nothing lost, and writes that are never in the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
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


@pytest.fixture
async def backend(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(clock=clock) as opened:  # so that it outlives the stacks over it
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def store(backend: FaultyStore, path: Path) -> AsyncIterator[Store]:
    async with WriteBehind(path, max_wait=0, shutdown_timeout=60).over(backend) as opened:
        yield opened
        backend.gate.set()


def part(store: Store) -> WriteBehind:
    return store.find(WriteBehind)


async def test_a_write_returns_before_the_backend_has_it(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("k", {"n": 1})
    assert backend.completed == []
    assert part(store).pending == 1
    backend.gate.set()
    await part(store).flush()
    assert await backend.get("k") == {"n": 1}
    assert part(store).pending == 0


async def test_reads_see_what_is_pending(
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


async def test_a_write_that_expires_before_it_is_sent_uncovers_nothing(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    await backend.put("k", "old")
    backend.down = True
    await store.put("k", "new", ttl=5)
    clock.advance(6)
    backend.down = False
    await part(store).flush()
    assert await store.get("k") is None
    assert await backend.get("k") is None
    # A backend may not take an entry that has expired: it is told to remove what it has.
    assert [call for call in backend.completed if call[0] == "remove"] == [("remove", None, ("k",))]


async def test_a_commit_is_on_the_disk_before_it_returns(store: Store) -> None:
    await store.put("k", 1)
    journal = part(store)._journal
    assert journal._file is not None
    pragma = journal._file._db.execute
    # A kill cannot show it, only a power failure: 2 is FULL.
    assert pragma("PRAGMA synchronous").fetchone() == (2,)
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_order_is_kept_and_of_one_key_only_the_newest_goes_out(
    store: Store, backend: FaultyStore
) -> None:
    backend.gate.clear()
    await store.put("first", 0)
    await ManualClock.settle()
    for key, value in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)]:
        await store.put(key, value)
    assert part(store).pending == 4
    backend.gate.set()
    await part(store).flush()
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
    await part(store).flush()
    assert await backend.get("k") == "second"


async def test_a_failure_stops_the_sending_until_the_pause_is_over(
    store: Store, backend: FaultyStore, clock: ManualClock
) -> None:
    backend.down = True
    await store.put("k", 1)
    await settle_until(lambda: backend.count("write") == 1)
    await clock.run(0.9)
    assert backend.count("write") == 1
    await clock.run(0.2)
    assert backend.count("write") == 2
    await clock.run(1.5)
    assert backend.count("write") == 2
    backend.down = False
    await clock.run(1)
    await settle_until(lambda: part(store).pending == 0)
    assert await backend.get("k") == 1
    assert part(store).snapshot().failures == 2


async def settle_until(reached: object, seconds: float = 5.0) -> None:
    """Wait for the journal's thread, which no clock of ours controls."""
    async with asyncio.timeout(seconds):
        while not reached():  # type: ignore[operator]  # a callable
            await asyncio.sleep(0.001)


async def test_flush_raises_while_the_backend_is_down(store: Store, backend: FaultyStore) -> None:
    backend.down = True
    await store.put("k", 1)
    with pytest.raises(StoreUnavailable):
        await part(store).flush()
    backend.down = False
    await part(store).flush()
    assert await backend.get("k") == 1


async def test_what_depends_on_the_backend_waits_for_what_is_pending(
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


async def test_delete_tells_what_was_there_as_far_as_anyone_can(
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
        await settle_until(lambda: clock.sleeping)
        clock.advance(3)
        with pytest.raises(StoreFull, match="nothing was accepted"):
            await refused
        waiting = asyncio.create_task(store.put("d", 4))
        await settle_until(lambda: clock.sleeping)
        assert not waiting.done()
        backend.gate.set()
        await waiting
        await part(store).flush()
        assert await backend.keys() == ["a", "b", "d"]
        # A batch over the limit goes when nothing is before it.
        await store.put_many(numbered_keys(5), [0] * 5)


async def test_what_the_backend_refuses_does_not_hold_up_the_rest(
    store: Store, backend: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    backend.write_errors = {"big": ValueTooLarge("over the limit")}
    backend.gate.clear()
    await store.put("before", 1)
    await ManualClock.settle()
    await store.put_many(["x", "big", "y"], [1, "secret-value", 2])
    backend.gate.set()
    await part(store).flush()
    assert await backend.keys() == ["before", "x", "y"]
    (refused,) = await part(store).refused()
    assert (refused.key, refused.reason) == ("big", "ValueTooLarge")
    assert part(store).snapshot().refused == 1
    assert "'big'" in caplog.text
    assert "secret-value" not in caplog.text
    backend.write_errors = {}
    assert await part(store).retry_refused() == 1
    await part(store).flush()
    assert await backend.get("big") == "secret-value"
    assert await part(store).refused() == []


async def test_a_newer_write_replaces_what_was_refused(store: Store, backend: FaultyStore) -> None:
    backend.write_errors = {"k": ValueTooLarge("over the limit")}
    await store.put("k", "big")
    await part(store).flush()
    assert len(await part(store).refused()) == 1
    backend.write_errors = {}
    await store.put("k", "small")
    await part(store).flush()
    assert await part(store).retry_refused() == 0
    assert await part(store).discard_refused() == 0
    assert await backend.get("k") == "small"


async def test_closing_sends_what_it_can_and_keeps_the_rest(
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
        await part(store).flush()
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
    await settle_until(lambda: clock.sleeping)
    clock.advance(2)
    await closing
    backend.gate.set()
    async with layer.over(backend) as store:
        await part(store).flush()
    assert await backend.get("k") == 1


async def test_a_journal_serves_one_stack(path: Path, store: Store) -> None:
    await store.put("k", 1)
    with pytest.raises(ConfigurationError, match="has it open"):
        await WriteBehind(path).over(MemoryStore()).open()


async def test_a_journal_serves_one_process(path: Path) -> None:
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "from kvwrap.layers.shared.journal.file import JournalFile;"
        "f = JournalFile(sys.argv[1], 'x');"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConfigurationError, match="another process"):
            await WriteBehind(path).over(MemoryStore()).open()
        other.kill()
    async with WriteBehind(path).over(MemoryStore()) as store:
        await store.put("k", 1)


async def test_other_files_are_not_taken_for_journals(tmp_path: Path) -> None:
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("not a database, and long enough to be looked at" * 50)
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    for path in (text, database, tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            await WriteBehind(path).over(MemoryStore()).open()
    assert text.read_text().startswith("not a database")


async def test_a_damaged_entry_is_set_aside_and_the_others_are_sent(
    path: Path, backend: FaultyStore
) -> None:
    backend.down = True
    async with WriteBehind(path).over(backend) as store:
        await store.put_many(["good", "bad"], [1, 2])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE pending SET entry = x'AB6B01' WHERE key = 'bad'")
    db.close()
    backend.down = False
    async with WriteBehind(path).over(backend) as store:
        assert [each.reason for each in await part(store).refused()] == ["CorruptEntry"]
    assert await backend.keys() == ["good"]


async def test_writes_at_the_same_time_share_a_commit(store: Store, backend: FaultyStore) -> None:
    journal = part(store)._journal
    commits = 0
    assert journal._file is not None
    accept = journal._file.accept

    def counted(changes: object) -> None:
        nonlocal commits
        commits += 1
        accept(changes)  # type: ignore[arg-type]  # as given

    journal._file.accept = counted  # type: ignore[method-assign]  # to count
    await asyncio.gather(*(store.put(f"k{n}", n) for n in range(50)))
    assert 1 <= commits <= 3
    await part(store).flush()
    assert len(backend) == 50


async def test_a_journal_that_fails_accepts_nothing(store: Store, backend: FaultyStore) -> None:
    journal = part(store)._journal
    assert journal._file is not None
    db = journal._file._db
    db.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreFull) as caught:
        await store.put("k", "x" * 100_000)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert await store.get("k") is None
    db.execute("PRAGMA max_page_count=1000000")
    await store.put("k", 1)
    await part(store).flush()
    assert await backend.get("k") == 1


async def test_cancelling_a_write_leaves_the_journal_usable(
    store: Store, backend: FaultyStore
) -> None:
    writes = [asyncio.create_task(store.put(f"k{n}", n)) for n in range(20)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await part(store).flush()
    # Those cancelled may have been accepted or not; the others must have been.
    assert set(await backend.keys()) >= {f"k{n}" for n in range(1, 20, 2)}
    flushing = asyncio.create_task(part(store).flush())
    flushing.cancel()
    await store.put("last", 1)
    await part(store).flush()
    assert await backend.get("last") == 1


async def test_without_opening_it_opens_at_the_first_use(path: Path, backend: FaultyStore) -> None:
    store = WriteBehind(path).over(backend)
    await store.put("k", 1)
    await part(store).flush()
    assert await backend.get("k") == 1
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.put("k", 2)


KILLED = """
import asyncio, sys
from pathlib import Path
from kvwrap import MemoryStore
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.write_behind import WriteBehind

class Down(MemoryStore):
    async def write(self, *arguments):
        raise StoreUnavailable("down")

async def main():
    async with WriteBehind(sys.argv[1]).over(Down()) as store:
        async def write(worker):
            for number in range(100_000):
                await store.put(f"{worker}-{number % 50}", number)
                print(worker, number, flush=True)
        await asyncio.gather(*(write(worker) for worker in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 400])
async def test_every_acknowledged_write_arrives_after_a_kill(path: Path, after: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(after)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
    newest: dict[str, int] = {}
    for line in acknowledged:
        if line.endswith("\n"):
            worker, number = map(int, line.split())
            newest[f"{worker}-{number % 50}"] = number
    assert newest
    async with MemoryStore() as backend:
        async with WriteBehind(path).over(backend) as store:
            await part(store).flush()
        for key, number in newest.items():
            # One more may have been committed, and not printed any more.
            assert await backend.get(key) in (number, number + 50)


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


class Guards(Layer):
    traits = frozenset({"guards"})


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        (lambda p: stack(WriteBehind(p), Encrypts()), "plaintext-journal"),
        (lambda p: stack(WriteBehind(p), WriteBehind(p.with_suffix(".2"))), "two-journals"),
        (lambda p: stack(WriteBehind(p), Guards()), "guard-inside-write-behind"),
        (lambda p: stack(Encrypts(), Guards(), WriteBehind(p)), None),
    ],
)
def test_known_mistakes_are_told(path: Path, layers: object, code: str | None) -> None:
    made: Stack = layers(path)  # type: ignore[operator]  # a callable
    if code is None:
        made.over(MemoryStore())
    else:
        with pytest.warns(StackWarning, match=code):
            made.over(MemoryStore())
        assert made.silence(code).over(MemoryStore()).findings == ()


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
def test_what_cannot_work_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        WriteBehind(**{"journal": "journal", **arguments})  # type: ignore[arg-type]  # the point


async def test_it_works_inside_other_layers(path: Path, backend: FaultyStore) -> None:
    async with stack(PrefixCollection("app-"), WriteBehind(path)).over(backend) as store:
        await store.put("k", 1, collection="c")
        assert await store.get("k", collection="c") == 1
        assert await store.collections() == ["c"]
    assert await backend.collections() == ["app-c"]
