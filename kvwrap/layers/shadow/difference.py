"""What two stores have differently under one key."""

from __future__ import annotations

import math

import msgspec

from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection

_SAME_END = 2.0
"""Expiries that differ by no more, in seconds, are the same: some backends round to seconds."""


class Difference(msgspec.Struct, frozen=True):
    """One entry that the two stores have differently.

    Attributes:
        kind: `missing` or `extra` in the shadow, or another `value` or `expiry` there.
        collection: Its collection.
        key: Its key.
    """

    kind: str
    collection: Collection
    key: str


def difference(one: Entry | None, other: Entry | None, now: float) -> str | None:
    """The `kind` of the difference, as `Difference` has it; `None` where there is none.

    What has expired in the first store by now may be gone from the other, or not.
    """
    if one is not None and live(one, now) is None:
        return None
    if one is None or other is None:
        return None if one is other else "extra" if one is None else "missing"
    if one.body != other.body or one.codec != other.codec:
        return "value"
    ends = [math.inf if e.expires_at is None else e.expires_at for e in (one, other)]
    return None if ends[0] == ends[1] or abs(ends[0] - ends[1]) <= _SAME_END else "expiry"
