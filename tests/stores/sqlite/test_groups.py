"""SQLiteStore: calls that wait together are committed together, each with its own result."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import CorruptEntry, SQLiteStore, StoreTimeout, ValueTooLarge


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the file, so that calls of a store wait."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def traced(connection: sqlite3.Connection) -> list[str]:
    """Return a list that gets every statement."""
    executed: list[str] = []
    connection.set_trace_callback(executed.append)
    return executed


async def started(*calls: asyncio.Task[object]) -> None:
    """Give calls the turns in which they reach the thread."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


async def test_what_waits_when_a_transaction_begins_goes_into_it(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file, timeout=60) as store:
        await store.put("n", 0)
        executed = traced(connections[0])
        with held(file):
            calls = [asyncio.create_task(store.put(f"k{n}", n)) for n in range(50)]
            calls.append(asyncio.create_task(store.delete("n")))
            await started(*calls)
        assert (await asyncio.gather(*calls))[-1] is True
        assert executed.count("COMMIT") == 1
        assert await store.count() == 50


async def test_a_call_that_fails_alone_gets_the_error(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file, timeout=60) as store:
        await store.put("damaged", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("UPDATE kvwrap SET entry = x'00'")
        connections[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        executed = traced(connections[0])
        with held(file):
            calls = [
                asyncio.create_task(store.put("a", 1)),
                asyncio.create_task(store.put("large", "x" * 20_000)),
                asyncio.create_task(store.put_if_absent("b", 2)),
                asyncio.create_task(store.expire("damaged", 10)),
                asyncio.create_task(store.increment("c")),
            ]
            await started(*calls)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[1], ValueTooLarge)
        assert isinstance(results[3], CorruptEntry)
        assert [results[0], results[2], results[4]] == [None, True, 1]
        assert executed.count("COMMIT") >= 3
        assert await store.get_many(["a", "b", "c", "large"]) == [1, 2, 1, None]


async def test_a_batch_that_fails_in_the_middle_writes_nothing_and_says_so(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    async with SQLiteStore(file) as store:
        connections[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        with pytest.raises(ValueTooLarge, match="Nothing was written") as caught:
            await store.put_many(["a", "b", "c"], [1, "x" * 20_000, 3])
        assert (caught.value.key, caught.value.succeeded) == ("b", None)
        assert await store.keys() == []


async def test_each_call_waits_for_its_own_timeout(file: Path) -> None:
    async with SQLiteStore(file, timeout=0.2) as store:
        await store.put("a", 0)
        with held(file):
            first = asyncio.create_task(store.put("a", 1))
            await asyncio.wait([first], timeout=0.1)
            second = asyncio.create_task(store.put("b", 2))
            with pytest.raises(StoreTimeout):
                await first
        await asyncio.gather(second, return_exceptions=True)
        assert await store.get("a") == 0


async def test_a_cancelled_call_interrupts_no_other_of_its_transaction(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    keys = [f"k{number}" for number in range(3000)]
    async with SQLiteStore(file, timeout=60) as store:
        await store.put("n", 0)
        executed = traced(connections[0])
        with held(file):
            small = asyncio.create_task(store.put("n", 1))
            await started(small)
            large = asyncio.create_task(store.put_many(keys, ["x" * 2000] * len(keys)))
            await started(small, large)
        async with asyncio.timeout(60):
            while len(executed) < 20:
                await asyncio.sleep(0)
        small.cancel()
        await asyncio.gather(small, large, return_exceptions=True)
        assert await large is None
        assert "ROLLBACK" not in executed
        assert await store.get("n") == 1, "it was committed with the other"


async def test_what_a_cancelled_call_undoes_is_done_again(
    file: Path, connections: list[sqlite3.Connection]
) -> None:
    keys = [f"k{number}" for number in range(3000)]
    async with SQLiteStore(file, timeout=60) as store:
        await store.put("n", 0)
        executed = traced(connections[0])
        with held(file):
            small = asyncio.create_task(store.increment("n"))
            await started(small)
            await store.get("n")
            large = asyncio.create_task(store.put_many(keys, ["x" * 2000] * len(keys)))
            await started(small, large)
        async with asyncio.timeout(60):
            while len(executed) < 20:
                await asyncio.sleep(0)
        large.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await large
        assert await small == 1
        assert await store.get("n") == 1
        assert await store.count() in (1, 3001)


async def test_a_store_may_be_given_up_while_it_is_opened(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, proceed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    connect = sqlite3.connect

    def slowly(*arguments: object, **options: object) -> sqlite3.Connection:
        loop.call_soon_threadsafe(opening.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result(60)
        return connect(*arguments, **options)  # type: ignore[call-overload,no-any-return]

    store = SQLiteStore(file)
    monkeypatch.setattr(sqlite3, "connect", slowly)
    using = asyncio.create_task(store.put("a", 1))
    await opening.wait()
    using.cancel()
    for _ in range(5):
        await asyncio.sleep(0.002)
    assert not using.done(), "its thread opens the file"
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    async with store:
        assert await store.get("a") is None


async def test_a_batch_is_read_as_it_was_at_one_time(file: Path) -> None:
    keys = [f"k{number}" for number in range(2000)]
    async with SQLiteStore(file) as store, SQLiteStore(file) as other:
        await store.put_many(keys, [0] * len(keys))

        async def change() -> None:
            for number in range(1, 15):
                await other.put_many(keys, [number] * len(keys))

        changing = asyncio.create_task(change())
        while not changing.done():
            assert len(set(await store.get_many(keys))) == 1
        await changing
        assert set(await store.get_many(keys)) == {14}
