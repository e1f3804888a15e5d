"""Eviction in a file keeps what is used again, as well as eviction in memory does."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from benchmarks.traces import ENTRIES, traces
from kvwrap import MemoryStore
from kvwrap.core.clock import SystemClock
from kvwrap.core.entry import Entry
from kvwrap.stores.sqlite.table import Table

ACCESSES = 20_000
TRACES = traces()
ENTRY = Entry(b"12345678" * 32, b"\x01", 0.0, None, 1)


async def memory_hits(trace: list[int]) -> int:
    store = MemoryStore(max_entries=ENTRIES)
    hits = 0
    for number in trace:
        key = (str(number),)
        if (await store.read(None, key))[0] is not None:
            hits += 1
        else:
            await store.write(None, key, (ENTRY,))
    return hits


@pytest.mark.parametrize(
    ("name", "limit"), [*((name, "max_entries") for name in TRACES), ("loop", "max_bytes")]
)
async def test_hit_rates(name: str, limit: str) -> None:
    trace = TRACES[name][:ACCESSES]
    size = len(ENTRY.to_bytes(None, "0"))
    limits = {"max_entries": ENTRIES} if limit == "max_entries" else {"max_bytes": ENTRIES * size}
    table = Table("kvwrap", SystemClock(), store="SQLiteStore", **limits)
    eviction = table.eviction
    assert eviction is not None
    hits = 0
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        table.create(connection)
        eviction.open(None)
        for number in trace:
            key = (str(number),)
            if table.read(connection, None, key)[0] is not None:
                hits += 1
            else:
                connection.execute("BEGIN")
                table.write(connection, None, key, (ENTRY,), None)
                table.finish(connection)
                connection.execute("COMMIT")
        (count,) = connection.execute("SELECT count(*) FROM kvwrap").fetchone()
        eviction.close()
    assert count == ENTRIES
    assert hits / ACCESSES >= await memory_hits(trace) / ACCESSES - 0.01
