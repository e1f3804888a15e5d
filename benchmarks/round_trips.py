"""Stores on servers, compared with the bare driver: the time of a round trip, alternately."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from key_value.aio.protocols.key_value import AsyncKeyValue

from benchmarks.table import Row, ratio
from benchmarks.timing import FINE_ROUNDS, pair, repeated, timed
from kvwrap import Store

VALUE = {"name": "Ada", "visits": 12, "tags": ["a", "b"], "score": 0.5}
KEYS = [f"key-{number:03}" for number in range(100)]
_SECONDS = 0.015
"""About how long one side takes in a round."""


Call = Callable[[], Awaitable[object]]


class Bare(NamedTuple):
    """What users of the driver write: values as JSON, by the fastest library."""

    get: Callable[[str], Awaitable[Any]]
    put: Callable[[str, Any], Awaitable[Any]]
    get_many: Callable[[list[str]], Awaitable[Any]]
    put_many: Callable[[list[str], list[Any]], Awaitable[Any]]


async def rows(
    title: str, store: Store, bare: Bare, peer: AsyncKeyValue | None = None
) -> AsyncIterator[Row]:
    """Measure single calls and batches of 100, by elapsed time: most of it is the server's.

    Args:
        title: The name of the store in its rows.
        store: The store.
        bare: The calls of the bare driver.
        peer: The store of py-key-value for the same server, if it has one.
    """
    values = [VALUE] * len(KEYS)
    await bare.put_many(KEYS, values)
    await store.put_many(KEYS, values, collection="c")
    ours = _calls(store)
    for (name, call), theirs, most in zip(ours, _bare_calls(bare), (1.15, 1.15, 1.3, 1.3)):
        yield await _row(f"{title}: {name}", call, theirs, most)
    if peer is not None:
        await peer.put_many(KEYS, values, collection="c")
        for (name, call), (_, theirs) in zip(ours, _calls(peer)):
            yield await _row(f"{title}: {name}, compared with py-key-value's", call, theirs, 1.0)


def _bare_calls(bare: Bare) -> list[Call]:
    """Return the driver's calls in the order of the rows."""
    values = [VALUE] * len(KEYS)
    return [
        lambda: bare.get("key-001"),
        lambda: bare.put("key-001", VALUE),
        lambda: bare.get_many(KEYS),
        lambda: bare.put_many(KEYS, values),
    ]


def _calls(store: AsyncKeyValue) -> list[tuple[str, Call]]:
    values = [VALUE] * len(KEYS)
    return [
        ("get", lambda: store.get("key-001", collection="c")),
        ("put", lambda: store.put("key-001", VALUE, collection="c")),
        ("get_many of 100", lambda: store.get_many(KEYS, collection="c")),
        ("put_many of 100", lambda: store.put_many(KEYS, values, collection="c")),
    ]


async def _row(
    title: str,
    ours: Call,
    theirs: Call,
    most: float,
) -> Row:
    took = await timed(repeated(theirs), 3, time.perf_counter)
    count = max(1, round(_SECONDS * 1e6 / took))
    measured = await pair(
        repeated(ours),
        repeated(theirs),
        count,
        count,
        clock=time.perf_counter,
        rounds_count=FINE_ROUNDS,
    )
    return ratio(title, measured, most, str(most))
