"""Histories of simulated or real processes, and what must hold of them.

Each property is a function that returns what contradicts it, so that a test reads
`assert not older_reads(history, bound=1.0)`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from kvwrap.testing.lab.process import current_process


class Operation(msgspec.Struct):
    """One operation, as the process saw it that made it.

    Attributes:
        process: The name of the process.
        kind: What it was: "read" and "write" of a value, or whatever a scenario records.
        key: Its key.
        began: When it began, in seconds.
        ended: When it returned; infinity if it did not: it failed, or was cancelled, or its
            process was killed. Then it may have happened, now or later.
        value: The value read or written; `None` for a key without a value.
    """

    process: str
    kind: str
    key: str
    began: float
    ended: float = math.inf
    value: Any = None


class History(list[Operation]):
    """Operations in the order in which they began.

    Args:
        now: Returns the time in seconds.
        operations: Operations to begin with.
    """

    def __init__(self, now: Callable[[], float], operations: Iterable[Operation] = ()) -> None:
        super().__init__(operations)
        self._now = now
        self.killed: dict[str, float] = {}
        """When processes were killed, by name."""

    @contextmanager
    def operation(
        self, kind: str, key: str, value: object = None, process: str = ""
    ) -> Iterator[Operation]:
        """Record an operation of the current process, which lasts as long as the block.

        Set `value` of what the block gets to what was read. A block that raises has not ended.
        """
        current = current_process.get()
        name = process or ("" if current is None else current.name)
        operation = Operation(name, kind, key, self._now(), value=value)
        self.append(operation)
        yield operation
        operation.ended = self._now()

    def of(self, kind: str) -> dict[str, list[Operation]]:
        """Return the operations of this kind, by key, in the order in which they began."""
        found: dict[str, list[Operation]] = {}
        for operation in sorted(self, key=lambda each: each.began):
            if operation.kind == kind:
                found.setdefault(operation.key, []).append(operation)
        return found


def older_reads(history: History, bound: float) -> list[str]:
    """Return the reads that returned what had been replaced for longer than `bound` seconds.

    A process sees its own writes at once: for these the bound is 0. Each value must be written
    once. A write that did not return may have happened at any time, or never. At first no key
    has a value.
    """
    writes = history.of("write")
    found = []
    for key, reads in history.of("read").items():
        written = _Writes(writes.get(key, []))
        found += [
            f"{read.process} read {key} = {read.value!r} at {read.began:.3f} s: {reason}"
            for read in reads
            if read.ended < math.inf and (reason := written.contradict(read, bound))
        ]
    return found


class _Writes:
    """The writes of a key, for questions about which of them followed another."""

    def __init__(self, writes: list[Operation]) -> None:
        self._by_value: dict[str, list[Operation]] = {}
        for write in writes:
            self._by_value.setdefault(repr(write.value), []).append(write)
        self._all = _Followers(writes)
        self._of = {
            process: _Followers([write for write in writes if write.process == process])
            for process in {write.process for write in writes}
        }

    def contradict(self, read: Operation, bound: float) -> str:
        """Return why this read cannot be; empty if it can."""
        sources = self._by_value.get(repr(read.value), [])
        if read.value is None:
            sources = [Operation("", "write", read.key, -math.inf, -math.inf), *sources]
        reason = "nobody has written that"
        for source in sources:
            if source.began > read.ended:
                reason = "that was written later"
            elif (own := self._followed(read.process, source, read.began)) is not None:
                reason = f"it had replaced that itself by {own!r}"
            elif (other := self._all.find(source, read.began - bound)) is not None:
                late = read.began - other.ended
                reason = f"{other.value!r} had replaced that for {late:.3f} s"
            else:
                return ""
        return reason

    def _followed(self, process: str, source: Operation, by: float) -> object:
        own = self._of.get(process)
        follower = None if own is None else own.find(source, by)
        return None if follower is None else follower.value or "nothing"


class _Followers:
    """Finds a write that began after another had ended, and had ended itself at some time."""

    def __init__(self, writes: list[Operation]) -> None:
        self._began = [write.began for write in writes]
        # From each write on, the one that ended first.
        self._first: list[Operation] = []
        for write in reversed(writes):
            later = self._first[-1] if self._first else write
            self._first.append(min(write, later, key=lambda each: each.ended))
        self._first.reverse()

    def find(self, source: Operation, by: float) -> Operation | None:
        position = bisect_right(self._began, source.ended)
        if position == len(self._began) or self._first[position].ended > by:
            return None
        return self._first[position]


def overlaps(history: History, kind: str) -> list[str]:
    """Return the operations of one kind and key that overlap: two holders, two computations.

    One of a process that was killed ends then.
    """
    found = []
    for key, operations in history.of(kind).items():
        before: Operation | None = None
        end = -math.inf
        for operation in operations:
            if before is not None and operation.began < end:
                found.append(
                    f"{operation.process} began to {kind} {key} at {operation.began:.3f} s, "
                    f"before {before.process} had ended"
                )
            ends = min(operation.ended, history.killed.get(operation.process, math.inf))
            if ends >= end:
                before, end = operation, ends
    return found


def repetitions(history: History, kind: str, at_most: int = 1) -> list[str]:
    """Return the keys with more than `at_most` operations of one kind, such as computations."""
    return [
        f"{key}: {kind} by {', '.join(each.process for each in operations)}; expected {at_most}"
        for key, operations in history.of(kind).items()
        if len(operations) > at_most
    ]
