"""What a stack counts, read again and again: of this process, or of another one by its socket."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from kvwrap.core.deadlines import time_limit
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, KvwrapError, StoreUnavailable
from kvwrap.layers.statistics.described import describe
from kvwrap.layers.statistics.histogram import Latency, bucket_index

_LARGEST: Final = 16 * 2**20
"""Bytes of an answer: ten times that of a hundred collections with all operations."""

CURVE: Final = "near.hit_rate"

_SLOWEST: Final = bucket_index(1e12)
_MOST: Final = 2**64
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
        ConfigurationError: What is served are not the figures of a stack, or another user serves.
    """
    try:
        with time_limit(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LARGEST)
            try:
                _check_owner(path, writer.get_extra_info("socket"))
                line = await _line(reader)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise StoreUnavailable(
            f"no process serves figures at {path!r} ({type(error).__name__}): it must have a store "
            "open whose layer Statistics has this socket"
        ) from None
    if line == b"":
        raise StoreUnavailable(
            f"the process at {path!r} gave no figures: it is ending, or has too many readers"
        )
    try:
        reading = msgspec.json.decode(line or b"", type=Reading)
    except (msgspec.DecodeError, UnicodeDecodeError):
        reading = None
    if reading is None or not all(_is_possible(figure) for figure in reading.figures):
        raise ConfigurationError(
            f"a socket of the layer Statistics must give figures; {path!r} gives something else"
        )
    return reading


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """Return a line, or None if it is too long."""
    try:
        return await reader.readline()
    except ValueError:
        return None


def _is_possible(figure: Figure) -> bool:
    """Return True if a figure can be computed with."""
    value = figure.value
    if not isinstance(value, Latency):
        return abs(value) <= _MOST
    if figure.name != "operation.duration":
        return figure.name not in ("operations", "hits", "misses")
    return abs(value.seconds) <= _MOST and all(
        0 <= index <= _SLOWEST and 0 <= count <= _MOST for index, count in value.buckets
    )


def _check_owner(path: str, connection: Any) -> None:
    """Refuse what another user serves, who could make up the figures.

    Where others may write to the folder, they can make the socket first. Root may read, too, what
    the owner of the folder serves.
    """
    own, owner = os.geteuid(), _owner(path, connection)
    if owner in (own, 0) or (own == 0 and owner == Path(path).resolve().parent.stat().st_uid):
        return
    raise ConfigurationError(
        f"a socket must be that of this user ({own}) or root; {path!r} is that of user {owner}: "
        "run the command as that user, if you trust it"
    )


def _owner(path: str, connection: Any) -> int:
    """Return the user whose process listens, or who has the file where the system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return Path(path).stat().st_uid
    size = struct.calcsize("iII")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = struct.unpack("iII", peer)
    return int(user)


def operations_of(reading: Reading, before: Reading | None) -> list[Operation]:
    """Return the operations that a reading counts, the busiest first."""
    now, earlier = _by_key(reading), _by_key(before)
    seconds = _seconds(reading, before)
    errors = _errors(reading)
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
                int(errors[figure.stack, figure.layer, frozenset(labels)]),
            )
        )
    return sorted(rows, key=lambda row: (-(row.rate or 0), -row.calls))


def _errors(reading: Reading) -> Mapping[tuple[str, str, frozenset[tuple[str, str]]], float]:
    """Return the number of errors of each operation, of whatever class."""
    errors: dict[tuple[str, str, frozenset[tuple[str, str]]], float] = defaultdict(float)
    for figure in reading.figures:
        if figure.name == "errors" and not isinstance(figure.value, Latency):
            labels = frozenset(each for each in figure.labels.items() if each[0] != "error")
            errors[figure.stack, figure.layer, labels] += figure.value
    return errors


def changes_of(reading: Reading, before: Reading | None) -> list[Change]:
    """Return the figures of a reading that are not zero, by layer, without those of operations.

    A hit rate that is zero is one of them.
    """
    now, earlier = _by_key(reading), _by_key(before)
    seconds = _seconds(reading, before)
    changes = []
    for figure in reading.figures:
        if "operation" in figure.labels or isinstance(figure.value, Latency):
            continue
        if not figure.value and figure.name != CURVE:
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
    if value is None or was is None or isinstance(value, Latency) != isinstance(was, Latency):
        return value
    if isinstance(value, Latency):
        counts = dict(was.buckets)
        grown = tuple((index, count - counts.get(index, 0)) for index, count in value.buckets)
        if any(count < 0 for _, count in grown):
            return value
        return Latency(value.seconds - was.seconds, tuple(each for each in grown if each[1]))
    return value if value < was else value - was
