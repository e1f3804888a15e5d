"""How a value is found missing, what becomes of computing it, and the write of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives, QualifiedKey
from kvwrap.errors import (
    CorruptEntry,
    DecryptionError,
    InvalidValue,
    KvwrapError,
    StoreUnavailable,
    ValueTooLarge,
)

INVALID = (CorruptEntry, DecryptionError, InvalidValue)
"""What a stored value raises that cannot be read, or is not of the model."""


class Missing(NamedTuple):
    """The reason why a value must be computed.

    Attributes:
        ended: Number of computations that had ended before the store was read.
        expected: What the result may replace: no entry, the version of one that is stale or
            cannot be read, or anything (`None`).
        stale: The stale entry, if there is one.
    """

    ended: int
    expected: Expected = ABSENT
    stale: Entry | None = None


class Product(NamedTuple):
    """The result of a factory.

    Attributes:
        value: The result.
        entry: The entry to store; `None` if the result is not stored.
        refusal: Why it could not be made into an entry.
        tags: Its tags.
    """

    value: Any
    entry: Entry | None = None
    refusal: KvwrapError | None = None
    tags: tuple[str, ...] = ()


class Failed(NamedTuple):
    """The exception of a factory.

    Attributes:
        error: The exception.
        stale: The value for callers that allow a stale one; `None` without one.
    """

    error: Exception
    stale: Entry | None = None


class Outcome(NamedTuple):
    """What a computation shares with the callers that wait for it.

    Attributes:
        result: What became of it.
        began: When it began, by `Clock.monotonic`.
    """

    result: Entry | Product | Failed
    began: float


async def write_result(
    part: Primitives,
    name: QualifiedKey,
    entry: Entry,
    expected: Expected,
    *,
    needs_condition: bool,
) -> bool:
    """Write a result. Returns False if something else was put meanwhile.

    Args:
        part: Where to write it.
        name: The collection and key.
        entry: The result.
        expected: What was there before; `None` for no condition.
        needs_condition: False to write without the condition if the backend is unavailable: a
            journal takes such a write, and replicas a part of them.
    """
    collection, key = name
    conditions = None if expected is None else (expected,)
    return (
        await write_results(
            part, collection, {key: entry}, conditions, needs_condition=needs_condition
        )
    )[0]


async def write_results(
    part: Primitives,
    collection: Collection,
    entries: Mapping[str, Entry],
    expected: Sequence[Expected] | None,
    *,
    needs_condition: bool,
) -> list[bool]:
    """Write several results as `write_result` does one. Returns, per key, True if written."""
    keys, values = list(entries), list(entries.values())
    if expected is not None:
        try:
            return await part.write(collection, keys, values, expected)
        except (ValueTooLarge, InvalidValue):
            pass  # A layer that drops such values instead must raise if there is a condition.
        except StoreUnavailable:
            if needs_condition:
                raise
    return await part.write(collection, keys, values)
