"""A layer that lets a test get between a stack and its backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

from kvwrap.core.entry import Entry
from kvwrap.layers.base.around import Around, Call

T = TypeVar("T")
Before = Callable[[str], Awaitable[None]]
Alter = Callable[[Entry], Entry]


class Tap(Around):
    """Put innermost, sees every operation that reaches the backend, and what comes back.

    Args:
        before: Awaited with the primitive's name before each operation: wait in it to hold
            operations back, raise in it to make them fail.
        alter: Makes of each entry that is read another one, as if its bytes had been
            altered at rest by somebody who can mend a checksum.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"injects_faults"})

    def __init__(self, *, before: Before | None = None, alter: Alter | None = None) -> None:
        self._before = before
        self._alter = alter

    async def around(self, call: Call[T]) -> T:
        if self._before is not None:
            await self._before(call.operation)
        found = await call()
        if self._alter is not None and call.operation == "read":
            assert isinstance(found, list)
            found[:] = [None if entry is None else self._alter(entry) for entry in found]
        return found


def corruptions(entry: Entry, most: int = 400) -> Iterator[Entry]:
    """This entry with one byte flipped, cut short, lengthened or emptied, in every place.

    Args:
        entry: As it lies in the backend.
        most: Of a longer body, about so many places are chosen evenly.
    """
    for body in _corrupted(entry.body, most):
        yield entry.with_body(body, entry.codec)
    for codec in _corrupted(entry.codec, most):
        yield entry.with_body(entry.body, codec)
    yield entry.with_body(b"", b"")


def _corrupted(data: bytes, most: int) -> Sequence[bytes]:
    places = range(0, len(data), len(data) // most + 1)
    flipped = [
        data[:place] + bytes((data[place] ^ mask,)) + data[place + 1 :]
        for place in places
        for mask in (0x01, 0x80)
    ]
    cut = [data[:place] for place in places]
    return [*flipped, *cut, data + b"\x00", data + data, data[::-1]]
