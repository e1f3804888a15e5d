"""Stores on servers, compared with the bare driver: the time of a round trip, alternately."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from benchmarks.table import Row, ratio
from benchmarks.timing import pair, repeated, timed
from kvwrap import Store

VALUE = {"name": "Ada", "visits": 12, "tags": ["a", "b"], "score": 0.5}
KEYS = [f"key-{number:03}" for number in range(100)]
_SECONDS = 0.05
"""About how long one side takes in a round."""


class Bare(NamedTuple):
    """What users of the driver write: values as JSON, by the fastest library."""

    get: Callable[[str], Awaitable[Any]]
    put: Callable[[str, Any], Awaitable[Any]]
    get_many: Callable[[list[str]], Awaitable[Any]]
    put_many: Callable[[list[str], list[Any]], Awaitable[Any]]


async def rows(
    title: str, store: Store, bare: Bare, *, single: float = 1.15, batch: float = 1.3
) -> AsyncIterator[Row]:
    """Measure single calls and batches of 100, by elapsed time: most of it is the server's.

    Args:
        title: What the names of the rows begin with.
        store: The store.
        bare: The other side.
        single: Target for the ratio of single calls.
        batch: Target for the ratio of batches.
    """
    values = [VALUE] * len(KEYS)
    await bare.put_many(KEYS, values)
    await store.put_many(KEYS, values, collection="c")
    yield await _row(
        f"{title}: get",
        lambda: store.get("key-001", collection="c"),
        lambda: bare.get("key-001"),
        single,
    )
    yield await _row(
        f"{title}: put",
        lambda: store.put("key-001", VALUE, collection="c"),
        lambda: bare.put("key-001", VALUE),
        single,
    )
    yield await _row(
        f"{title}: get_many of 100",
        lambda: store.get_many(KEYS, collection="c"),
        lambda: bare.get_many(KEYS),
        batch,
    )
    yield await _row(
        f"{title}: put_many of 100",
        lambda: store.put_many(KEYS, values, collection="c"),
        lambda: bare.put_many(KEYS, values),
        batch,
    )


async def _row(
    title: str,
    ours: Callable[[], Awaitable[object]],
    theirs: Callable[[], Awaitable[object]],
    most: float,
) -> Row:
    took = await timed(repeated(theirs), 3, time.perf_counter)
    count = max(1, round(_SECONDS * 1e6 / took))
    measured = await pair(repeated(ours), repeated(theirs), count, count, clock=time.perf_counter)
    return ratio(title, measured, most, str(most))
