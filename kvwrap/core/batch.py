"""Parts of a batch, by the indexes of their keys in it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from kvwrap.errors import KvwrapError

T = TypeVar("T")


def take(sequence: Sequence[T], indexes: Sequence[int]) -> Sequence[T]:
    """Return the elements at these indexes."""
    if len(indexes) == len(sequence):
        return sequence
    return [sequence[index] for index in indexes]


def indexes_of(flags: Sequence[bool]) -> list[int]:
    """Return the indexes of the true flags."""
    return [index for index, flag in enumerate(flags) if flag]


def first_of_each(keys: Sequence[str], existed: Sequence[bool]) -> list[bool]:
    """Return the flags that a removal reports for a batch, given which keys existed.

    Of a key that occurs several times, only the first occurrence was removed.
    """
    seen: set[str] = set()
    removed = []
    for key, key_existed in zip(keys, existed, strict=True):
        removed.append(key_existed and key not in seen)
        seen.add(key)
    return removed


def succeeded_flags(keys: Sequence[str], error: KvwrapError) -> list[bool]:
    """Return, per key of a batch that failed with this error, True if the error lists it."""
    succeeded = set(error.succeeded or ())
    return [key in succeeded for key in keys]


def add_succeeded(error: Exception, keys: Sequence[str], succeeded: Iterable[str]) -> None:
    """Add keys of a batch to those for which the error says that the operation succeeded."""
    if isinstance(error, KvwrapError):
        known = {*succeeded, *(error.succeeded or ())}
        error.succeeded = tuple(key for key in dict.fromkeys(keys) if key in known)


async def with_callers_names(call: Awaitable[T], keys: Sequence[str], names: Sequence[str]) -> T:
    """Await a call for a batch whose keys have other names inside, and return its result.

    In an error of the call, `succeeded` lists the caller's keys instead of those names.
    """
    try:
        return await call
    except KvwrapError as error:
        if error.succeeded:
            succeeded = set(error.succeeded)
            error.succeeded = tuple(
                key for key, name in zip(keys, names, strict=True) if name in succeeded
            )
        raise
