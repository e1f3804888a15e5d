"""Eviction keeps what is used again, as well as S3-FIFO does elsewhere."""

from __future__ import annotations

import pytest

from benchmarks.traces import ACCESSES, ENTRIES, traces
from kvwrap import MemoryStore
from kvwrap.core.entry import Entry

S3_FIFO = {"zipf": 0.734, "scan": 0.549, "drift": 0.696, "loop": 0.777}
"""The hit rates of libcachesim 0.3.5 with its S3-FIFO. Those of LRU: 0.676, 0.457, 0.670, 0.313."""

TRACES = traces()
ENTRY = Entry(b"12345678", b"\x01", 0.0, None, 1)
SIZE = len(ENTRY.body) + len(ENTRY.codec)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *((name, {"max_entries": ENTRIES}) for name in S3_FIFO),
        ("loop", {"max_bytes": ENTRIES * SIZE}),
    ],
)
async def test_hit_rates(name: str, limit: dict[str, int]) -> None:
    store = MemoryStore(**limit)
    hits = 0
    for number in TRACES[name]:
        key = (str(number),)
        if (await store.read(None, key))[0] is not None:
            hits += 1
        else:
            await store.write(None, key, (ENTRY,))
    assert len(store) == ENTRIES
    assert hits / ACCESSES >= S3_FIFO[name] - 0.01
