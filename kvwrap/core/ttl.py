"""Lifetimes: what users may give for one, and how long it lasts."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import SupportsFloat

from kvwrap.errors import InvalidTTL

TTL = SupportsFloat | timedelta
"""A lifetime: seconds above zero, or a `timedelta`."""

LATEST = (2**48 - 1) / 1000
"""The last moment that an entry's header can hold, in the year 10889."""


def checked_ttl(ttl: object) -> float:
    """Seconds; raises `InvalidTTL` for anything but a finite lifetime above zero."""
    if isinstance(ttl, timedelta):
        seconds = ttl.total_seconds()
    elif isinstance(ttl, SupportsFloat) and not isinstance(ttl, bool | str | bytes):
        try:
            seconds = float(ttl)
        except (TypeError, ValueError, OverflowError):
            raise InvalidTTL("a ttl is a finite number of seconds above 0") from None
    else:
        raise InvalidTTL(f"a ttl is a number of seconds or a timedelta, not {type(ttl).__name__}")
    if not 0 < seconds < math.inf:
        raise InvalidTTL(f"a ttl is a finite number of seconds above 0, not {seconds!r}")
    return seconds


def expiry(now: float, ttl: TTL | None) -> float | None:
    """When an entry made `now` with this ttl expires; `None` is never."""
    if ttl is None:
        return None
    plain = (type(ttl) is float or type(ttl) is int) and 0 < ttl <= LATEST
    end = now + (ttl if plain else checked_ttl(ttl))  # type: ignore[operator]  # a number if plain
    return min(end, LATEST)
