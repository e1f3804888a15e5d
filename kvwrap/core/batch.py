"""Parts of a batch, by the places of their keys in it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import KvwrapError

T = TypeVar("T")


def take(sequence: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """The elements at these places."""
    if len(places) == len(sequence):
        return sequence
    return [sequence[place] for place in places]


def indexes_of(done: Sequence[bool]) -> list[int]:
    """The places of what was done."""
    return [place for place, was in enumerate(done) if was]


def first_of_each(keys: Sequence[str], there: Sequence[bool]) -> list[bool]:
    """What a removal says of a batch whose keys were there or not.

    Of a key that occurs several times, only the first was removed.
    """
    seen: set[str] = set()
    removed = []
    for key, was in zip(keys, there, strict=True):
        removed.append(was and key not in seen)
        seen.add(key)
    return removed


def succeeded_flags(keys: Sequence[str], error: KvwrapError) -> list[bool]:
    """Which keys of a batch had been carried out when it failed so, as far as the error says."""
    done = set(error.succeeded or ())
    return [key in done for key in keys]


def add_succeeded(error: Exception, keys: Sequence[str], done: Iterable[str]) -> None:
    """Have the error say that these keys of its batch were carried out, besides those it names."""
    if isinstance(error, KvwrapError):
        known = {*done, *(error.succeeded or ())}
        error.succeeded = tuple(key for key in dict.fromkeys(keys) if key in known)


async def with_callers_names(call: Awaitable[T], keys: Sequence[str], names: Sequence[str]) -> T:
    """What the call gives for a batch whose keys have these names inside.

    Its error says by their keys, which are what the caller knows, what was carried out.
    """
    try:
        return await call
    except KvwrapError as error:
        if error.succeeded:
            done = set(error.succeeded)
            error.succeeded = tuple(
                key for key, name in zip(keys, names, strict=True) if name in done
            )
        raise
