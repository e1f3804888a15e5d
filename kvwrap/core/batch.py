"""Parts of a batch, by the places of their keys in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kvwrap.errors import KvwrapError

T = TypeVar("T")


def picked(sequence: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The elements at these places."""
    if len(places) == len(sequence):
        return sequence
    return [sequence[place] for place in places]


def places_of(done: Sequence[bool]) -> list[int]:
    """The places of what was done."""
    return [place for place, was in enumerate(done) if was]


def once(keys: Sequence[str], there: Sequence[bool]) -> list[bool]:
    """What a removal says of a batch whose keys were there or not.

    Of a key that occurs several times, only the first was removed.
    """
    seen: set[str] = set()
    removed = []
    for key, was in zip(keys, there, strict=True):
        removed.append(was and key not in seen)
        seen.add(key)
    return removed


def done_of(keys: Sequence[str], error: KvwrapError) -> list[bool]:
    """Which keys of a batch had been carried out when it failed so, as far as the error says."""
    done = set(error.done or ())
    return [key in done for key in keys]
