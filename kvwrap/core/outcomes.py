"""How a value is found missing, and what becomes of computing it."""

from __future__ import annotations

from typing import Any, NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Expected
from kvwrap.errors import CorruptEntry, DecryptionError, InvalidValue, KvwrapError

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
    """

    value: Any
    entry: Entry | None = None
    refusal: KvwrapError | None = None


class Failed(NamedTuple):
    """The exception of a factory.

    Attributes:
        error: The exception.
        stale: The value for callers that allow a stale one; `None` without one.
    """

    error: Exception
    stale: Entry | None = None
