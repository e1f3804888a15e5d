"""What a stack counts, read again and again: of this process, or of another one by its socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, KvwrapError, StoreUnavailable
from kvwrap.layers.statistics.described import describe
from kvwrap.layers.statistics.histogram import Latency

_LARGEST: Final = 64 * 2**20
_PATIENCE: Final = 5.0

Key = tuple[str, str, str, tuple[tuple[str, str], ...]]


class Figure(msgspec.Struct):
    """A figure of a part of the stack."""

    stack: str
    layer: str
    name: str
    kind: str
    unit: str
    labels: dict[str, str]
    value: float | Latency

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.stack, self.layer, self.name, tuple(self.labels.items())


class Reading(msgspec.Struct):
    """What a stack had counted at one time."""

    process: int
    time: float
    seconds: float | None
    parts: list[str]
    figures: list[Figure]
    trouble: str | None = None


class Operation(msgspec.Struct):
    """The calls of one operation in one collection.

    Attributes:
        stack: The name of the stack.
        layer: The layer that counts.
        collection: The collection, '' for the default one.
        operation: The operation.
        calls: Number of calls so far.
        rate: Calls a second since the reading before; `None` at the first.
        hit_rate: Share of the keys read that had an entry, since the reading before or, without
            calls since, so far; `None` if it does not read.
        p50: Median of the latencies in seconds, likewise.
        p99: The latency that 99 of 100 calls did not exceed, likewise.
        errors: Number of failed calls so far.
    """

    stack: str
    layer: str
    collection: str
    operation: str
    calls: int
    rate: float | None
    hit_rate: float | None
    p50: float
    p99: float
    errors: int


class Change(msgspec.Struct):
    """A figure that is no operation's, with its rate a second if it is a counter."""

    stack: str
    layer: str
    name: str
    labels: dict[str, str]
    unit: str
    value: float
    rate: float | None


async def read_store(store: Store) -> Reading:
    """Return what an open store of this process has counted, after a check of its backend."""
    trouble = None
    try:
        await store.check()
    except KvwrapError as error:
        trouble = str(error)
    reading = msgspec.convert(msgspec.to_builtins(describe(store)), Reading)
    reading.trouble = trouble
    return reading


async def read_socket(path: str) -> Reading:
    """Return what the stack of another process has counted.

    Raises:
        StoreUnavailable: No process serves there.
        ConfigurationError: What is served are not the figures of a stack.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LARGEST)
            try:
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise StoreUnavailable(
            f"no process serves figures at {path!r} ({type(error).__name__}): it must have a store "
            "open whose layer Statistics has this socket"
        ) from None
    except ValueError:
        line = b""
    if not line:
        raise StoreUnavailable(
            f"the process at {path!r} gave no figures: it is ending, or has too many readers"
        )
    try:
        return msgspec.json.decode(line, type=Reading)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigurationError(
            f"a socket of the layer Statistics must give figures; {path!r} gives something else"
        ) from None


def operations_of(reading: Reading, before: Reading | None) -> list[Operation]:
    """Return the operations that a reading counts, the busiest first."""
    now, earlier = _by_key(reading), _by_key(before)
    seconds = _seconds(reading, before)
    rows = []
    for figure in reading.figures:
        if figure.name != "operations" or isinstance(figure.value, Latency):
            continue
        place = (figure.stack, figure.layer)
        labels = tuple(figure.labels.items())
        since = {
            name: _since(now, earlier, (*place, name, labels))
            for name in ("operations", "hits", "misses", "operation.duration")
        }
        calls = since["operations"]
        source = since if calls else {name: now.get((*place, name, labels)) for name in since}
        latency = source["operation.duration"]
        latency = latency if isinstance(latency, Latency) else Latency()
        hits, misses = source["hits"], source["misses"]
        reads = None if hits is None or misses is None else hits + misses
        errors = [
            each.value
            for each in reading.figures
            if each.name == "errors"
            and not isinstance(each.value, Latency)
            and (each.stack, each.layer) == place
            and all(each.labels.get(name) == value for name, value in labels)
        ]
        rows.append(
            Operation(
                *place,
                figure.labels.get("collection", ""),
                figure.labels.get("operation", ""),
                int(figure.value),
                None if seconds is None or calls is None else calls / seconds,
                hits / reads if reads else None,
                latency.p50,
                latency.p99,
                int(sum(errors)),
            )
        )
    return sorted(rows, key=lambda row: (-(row.rate or 0), -row.calls))


def changes_of(reading: Reading, before: Reading | None) -> list[Change]:
    """Return the figures of a reading that are not zero, by layer, without those of operations."""
    now, earlier = _by_key(reading), _by_key(before)
    seconds = _seconds(reading, before)
    changes = []
    for figure in reading.figures:
        if "operation" in figure.labels or isinstance(figure.value, Latency) or not figure.value:
            continue
        since = _since(now, earlier, figure.key) if figure.kind == "counter" else None
        changes.append(
            Change(
                figure.stack,
                figure.layer,
                figure.name,
                figure.labels,
                figure.unit,
                figure.value,
                None if seconds is None or since is None else since / seconds,
            )
        )
    return changes


def _by_key(reading: Reading | None) -> dict[Key, Any]:
    return {} if reading is None else {each.key: each.value for each in reading.figures}


def _seconds(reading: Reading, before: Reading | None) -> float | None:
    if before is None or before.process != reading.process or reading.time <= before.time:
        return None
    return reading.time - before.time


def _since(now: Mapping[Key, Any], earlier: Mapping[Key, Any], key: Key) -> Any:
    """Return what a counter has grown by; all of it if it was reset, or is new."""
    value, was = now.get(key), earlier.get(key)
    if value is None or was is None:
        return value
    if isinstance(value, Latency):
        counts = dict(was.buckets)
        grown = tuple((index, count - counts.get(index, 0)) for index, count in value.buckets)
        if any(count < 0 for _, count in grown):
            return value
        return Latency(value.seconds - was.seconds, tuple(each for each in grown if each[1]))
    return value if value < was else value - was
