"""A layer that lets a test delay, fail or alter operations between a stack and its backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

from kvwrap.layers.base import Around, Call, Entry, Layer

T = TypeVar("T")
Before = Callable[[str], Awaitable[None]]
Alter = Callable[[Entry], Entry]


class Tap(Around):
    """Innermost in a stack, sees every operation that reaches the backend, and every result.

    Args:
        before: Awaited with the primitive's name before each operation. Wait in it to delay
            the operation; raise in it to make the operation fail.
        alter: Called with each entry that is read. Returns the entry to pass on, as if its
            bytes had been altered at rest by somebody who can also recompute a checksum.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"injects_faults"})

    def __init__(self, *, before: Before | None = None, alter: Alter | None = None) -> None:
        self._before = before
        self._alter = alter

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        if self._before is not None:
            await self._before(call.operation)
        result = await call()
        if self._alter is not None and call.operation == "read":
            assert isinstance(result, list)
            result[:] = [None if entry is None else self._alter(entry) for entry in result]
        return result


def corruptions(entry: Entry, max_positions: int = 400) -> Iterator[Entry]:
    """Yield this entry with one change at a time: a byte flipped, truncated, extended, emptied.

    Args:
        entry: The entry as stored in the backend.
        max_positions: Maximum number of byte positions of the body, and of the codec, that are
            changed. They are evenly spaced if there are more bytes.
    """
    for body in _corrupted(entry.body, max_positions):
        yield entry.with_body(body, entry.codec)
    for codec in _corrupted(entry.codec, max_positions):
        yield entry.with_body(entry.body, codec)
    yield entry.with_body(b"", b"")


def _corrupted(data: bytes, max_positions: int) -> Sequence[bytes]:
    positions = range(0, len(data), len(data) // max_positions + 1)
    flipped = [
        data[:position] + bytes((data[position] ^ mask,)) + data[position + 1 :]
        for position in positions
        for mask in (0x01, 0x80)
    ]
    truncated = [data[:position] for position in positions]
    return [*flipped, *truncated, data + b"\x00", data + data, data[::-1]]
