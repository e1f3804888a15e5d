"""The difference between the entries that two stores have under one key."""

from __future__ import annotations

import math

import msgspec

from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection

_EXPIRY_TOLERANCE = 2.0
"""Seconds by which equal expiry times may differ: some backends round to seconds."""


class Difference(msgspec.Struct, frozen=True):
    """A key under which the two stores have different entries.

    Attributes:
        kind: `missing` (only in the inner store), `extra` (only in the shadow), `value` or
            `expiry`.
        collection: The collection of the key.
        key: The key.
    """

    kind: str
    collection: Collection
    key: str


def difference_kind(inner: Entry | None, shadow: Entry | None, now: float) -> str | None:
    """Return the `kind` of the `Difference` between two entries, or `None` if they are equal.

    An entry of the inner store that has expired by `now` counts as equal: the shadow may have
    deleted it already, or not.
    """
    if inner is not None and live(inner, now) is None:
        return None
    if inner is None or shadow is None:
        return None if inner is shadow else "extra" if inner is None else "missing"
    if inner.body != shadow.body or inner.codec != shadow.codec:
        return "value"
    ends = [math.inf if e.expires_at is None else e.expires_at for e in (inner, shadow)]
    return None if ends[0] == ends[1] or abs(ends[0] - ends[1]) <= _EXPIRY_TOLERANCE else "expiry"
