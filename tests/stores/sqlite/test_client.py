"""SQLiteStore: over a connection of the user."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    ReadOnlyViolation,
    SQLiteStore,
    StoreTimeout,
    StoreUnavailable,
)


@pytest.fixture
def client(file: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection to a file with a table of another program."""
    with contextlib.closing(sqlite3.connect(file, check_same_thread=False)) as connection:
        connection.execute("CREATE TABLE others (x)")
        connection.execute("INSERT INTO others VALUES (1)")
        connection.commit()
        yield connection


async def test_a_connection_is_used_and_never_closed(
    client: sqlite3.Connection, file: Path
) -> None:
    store = SQLiteStore(client=client)
    assert store.location == SQLiteStore(file).location
    assert {Capability.PERSISTENT, Capability.SHARED} <= store.capabilities
    for _ in range(2):
        async with store:
            await store.put_many(["a", "b"], [1, 2], ttl=100)
            await asyncio.gather(*(store.increment("n") for _ in range(20)))
            assert await store.get_many(["a", "b"]) == [1, 2]
            keys = [f"k{number}" for number in range(1500)]
            await store.put_many(keys, keys)
            assert await store.get_many(keys) == keys
            await store.scrub()
            assert await store.destroy() is True
        assert client.execute("SELECT x FROM others").fetchall() == [(1,)]
        assert not client.in_transaction
    assert client.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


async def test_a_connection_to_memory() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as client:
        client.row_factory = sqlite3.Row
        store = SQLiteStore(client=client)
        assert not store.capabilities & {Capability.PERSISTENT, Capability.SHARED}
        async with store:
            await store.put("a", 1, collection="c")
            assert await store.collections() == ["c"]
        async with store:
            assert await store.get("a", collection="c") == 1


async def test_a_connection_to_memory_with_a_file_attached_is_one_to_memory(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as client:
        client.execute("ATTACH ? AS other", (str(file),))
        store = SQLiteStore(client=client)
        assert not store.capabilities & {Capability.PERSISTENT, Capability.SHARED}
        assert str(file) not in store.location


async def test_a_transaction_of_the_user_is_left_alone(client: sqlite3.Connection) -> None:
    async with SQLiteStore(client=client) as store:
        await store.put("a", 1)
        client.execute("INSERT INTO others VALUES (2)")
        with pytest.raises(StoreUnavailable, match="commit it"):
            await store.put("a", 2)
        assert client.in_transaction
        client.rollback()
        await store.put("a", 3)
        assert await store.get("a") == 3
    assert client.execute("SELECT x FROM others").fetchall() == [(1,)]


async def test_a_connection_that_can_only_read(client: sqlite3.Connection, file: Path) -> None:
    async with SQLiteStore(client=client) as store:
        await store.put("a", 1)
    uri = f"file:{file}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, check_same_thread=False)) as reader:
        async with SQLiteStore(client=reader) as store:
            assert await store.get("a") == 1
            assert Capability.CULL not in store.capabilities
            with pytest.raises(ReadOnlyViolation):
                await store.put("a", 2)


async def test_reads_in_the_queue_of_a_locked_file(client: sqlite3.Connection, file: Path) -> None:
    client.execute("PRAGMA busy_timeout = 0")
    async with SQLiteStore(client=client, timeout=0.1) as store:
        await store.put("a", 1)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [store.put("a", 2), store.get("a"), store.put("a", 3), store.get("a")]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [StoreTimeout, int, StoreTimeout, int]
            other.execute("COMMIT")
        assert await store.get("a") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "check_same_thread=False"),
        ({"check_same_thread": False, "text_factory": bytes}, "text_factory"),
        ({"check_same_thread": False, "row_factory": lambda cursor, row: {"a": 1}}, "row_factory"),
        ({"check_same_thread": False, "row_factory": lambda cursor, row: 1}, "row_factory"),
        ({"check_same_thread": False, "row_factory": lambda cursor, row: 1 / 0}, "row_factory"),
    ],
)
async def test_connections_that_cannot_be_used(
    file: Path, options: dict[str, object], message: str
) -> None:
    settings = {name: value for name, value in options.items() if name != "check_same_thread"}
    same = bool(options.get("check_same_thread", True))
    with contextlib.closing(sqlite3.connect(file, check_same_thread=same)) as client:
        for name, value in settings.items():
            setattr(client, name, value)
        with pytest.raises(ConfigurationError, match=message):
            await SQLiteStore(client=client).get("a")


def test_arguments(client: sqlite3.Connection, file: Path) -> None:
    for arguments in ({}, {"path": file, "client": client}, {"client": "sqlite:///x"}):
        with pytest.raises(ConfigurationError):
            SQLiteStore(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    client.close()
    with pytest.raises(ConfigurationError, match="must be open"):
        SQLiteStore(client=client)
    with pytest.raises(ConfigurationError, match="'full' or 'normal'"):
        SQLiteStore(file, synchronous="off")  # type: ignore[arg-type]  # wrong on purpose


async def test_a_listing_that_fails_is_not_repeated(client: sqlite3.Connection) -> None:
    """Names that are no text are read in another way, and no other failure is: it would last."""
    async with SQLiteStore(client=client) as store:
        await store.put("k", 1)
        statements: list[str] = []
        client.set_trace_callback(statements.append)
        client.set_progress_handler(lambda: 1, 1)  # SQLite interrupts every statement
        for listing in (store.keys, store.collections):
            with pytest.raises(StoreUnavailable):
                await listing()
        client.set_progress_handler(None, 1)
        assert await store.keys() == ["k"]
        assert not [each for each in statements if "AS BLOB" in each]
