"""Time to live: checks of ttl arguments, and expiry times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, timedelta
from typing import SupportsFloat, cast

from kvwrap.errors import InvalidBatch, InvalidTTL

TTL = SupportsFloat | timedelta
"""A time to live: a number of seconds above 0, or a `timedelta`."""

TTLs = TTL | None | Sequence[TTL | None]
"""The ttl of a batch: one for all keys, or a sequence with one for each key."""

LATEST = (2**48 - 1) / 1000
"""The latest expiry time that an entry's header can hold, in the year 10889."""

_LONG = 2**38
"""Seconds about as long as `LATEST`: an integer, since most ttls are compared with it at once."""


def checked_ttl(ttl: object, name: str | None = None) -> float:
    """Return a ttl in seconds.

    Args:
        ttl: The ttl.
        name: What the argument is called, if it is not `ttl`.

    Raises:
        InvalidTTL: It is not a finite number of seconds above 0 or a timedelta above 0.
    """
    if type(ttl) is int and 0 < ttl < _LONG:
        return float(ttl)  # the common case: to look for the protocol takes ten times as long
    if isinstance(ttl, timedelta):
        seconds = ttl.total_seconds()
    elif isinstance(ttl, SupportsFloat) and not isinstance(ttl, bool | str | bytes):
        try:
            seconds = float(ttl)
        except (TypeError, ValueError, OverflowError):
            raise _invalid(name, type(ttl).__name__) from None
    else:
        raise _invalid(name, type(ttl).__name__ + _hint(ttl))
    if not 0 < seconds < math.inf:
        way_out = " (None means no expiry)" if name is None else ""
        raise _invalid(name, f"{seconds!r}{way_out}")
    return seconds


def _invalid(name: str | None, got: str) -> InvalidTTL:
    subject = "a ttl" if name is None else f"`{name}`"
    return InvalidTTL(
        f"{subject} must be a finite number of seconds above 0, or a timedelta; got {got}"
    )


def _hint(ttl: object) -> str:
    if isinstance(ttl, str):
        return ": write timedelta(minutes=5), or 300"
    if isinstance(ttl, date):
        return ": a ttl is a duration, such as the expiry time minus the current time"
    return ""


def expiry(now: float, ttl: TTL | None) -> float | None:
    """Return the expiry time of an entry written `now` with this ttl; `None` is never."""
    if ttl is None:
        return None
    kind = type(ttl)
    if (kind is int or kind is float) and 0 < ttl < _LONG:  # type: ignore[operator]  # a number
        expires_at: float = now + ttl  # type: ignore[operator]
        if expires_at <= LATEST:
            return expires_at
    return min(LATEST, now + checked_ttl(ttl))


def expiries(now: float, ttl: TTLs, keys: Sequence[str]) -> list[float | None]:
    """Return the expiry time of each entry of a batch written `now`.

    A string, mapping or set is no sequence of ttls.

    Raises:
        InvalidBatch: There are more or fewer ttls than keys.
        InvalidTTL: A ttl is not valid; the error names its key.
    """
    if not isinstance(ttl, Iterable) or isinstance(ttl, str | bytes | Mapping | Set):
        return [expiry(now, cast("TTL | None", ttl))] * len(keys)  # which checks it
    ttls = list(ttl)
    if len(ttls) != len(keys):
        raise InvalidBatch(
            f"`keys` and `ttl` must have the same length; got {len(keys)} keys and {len(ttls)} "
            "ttls. Nothing was written: pass one ttl or None for each key, or one for all"
        )
    times = []
    for key, each in zip(keys, ttls, strict=True):
        try:
            times.append(expiry(now, each))
        except InvalidTTL as error:
            error.key = key
            raise
    return times
