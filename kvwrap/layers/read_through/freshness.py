"""Freshness: how long a near copy is used, and when it is refreshed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from kvwrap.core.entry import Entry
from kvwrap.core.stale import user_expiry
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_rng, checked_share
from kvwrap.errors import ConfigurationError
from kvwrap.layers.read_through.copies import Copy


class Freshness:
    """The times of `ReadThrough`, which documents each argument.

    Attributes:
        ttl: In seconds; `None` for as long as the entry lives.
        negative_ttl: In seconds; `None` if misses are not remembered.
        stale_if_error: In seconds; 0 if stale copies are not served.
        refresh_ahead: Share of a copy's life; `None` if copies are not refreshed ahead.
        decoded: True if callers share the decoded values of copies.
    """

    def __init__(
        self,
        ttl: TTL | None,
        negative_ttl: TTL | None,
        stale_if_error: TTL | None,
        refresh_ahead: float | None,
        jitter: float,
        rng: random.Random | None,
        *,
        decoded: bool = False,
    ) -> None:
        self.decoded = decoded
        self.ttl = None if ttl is None else checked_ttl(ttl)
        self.negative_ttl = None if negative_ttl is None else checked_ttl(negative_ttl)
        self.stale_if_error = 0.0 if stale_if_error is None else checked_ttl(stale_if_error)
        if refresh_ahead is not None and checked_share(refresh_ahead, "refresh_ahead") in (0, 1):
            raise ConfigurationError(
                "`refresh_ahead` must be a share of a copy's life above 0 and below 1; got "
                f"{refresh_ahead!r}. Give 0.8 to refresh a copy after 80% of its life, or None "
                "for no refresh."
            )
        self._jitter = checked_share(jitter, "jitter")
        if jitter == 1:
            raise ConfigurationError(
                "`jitter` must be from 0 to below 1, so that a part of each ttl remains; got "
                f"{jitter!r}. Give 0.1 to subtract up to 10%."
            )
        self.refresh_ahead = refresh_ahead
        self._random: Callable[[], float] = checked_rng(rng).random

    @property
    def longest_life(self) -> float:
        """Seconds after which no copy that is made now can still be served."""
        if self.ttl is None:
            return math.inf
        return max(self.ttl + self.stale_if_error, self.negative_ttl or 0.0)

    @property
    def copy_may_exist(self) -> bool:
        """True if there may be a usable copy of a key that the far store is asked for."""
        return self.stale_if_error > 0 or self.refresh_ahead is not None

    def make_copy(self, entry: Entry | None, requested_at: float, is_refresh: bool) -> Copy | None:
        """Return the copy to keep of what the far store returned; `None` to keep nothing.

        Args:
            entry: The far entry; `None` for a miss.
            requested_at: When the far store was asked, in Unix seconds. Lifetimes count from
                then, so the bounds hold however slow it was.
            is_refresh: True if the far store was asked before the end of an earlier copy.
        """
        if entry is None:
            if self.negative_ttl is None:
                return None
            fresh_until = requested_at + self._jittered(self.negative_ttl)
            return Copy(None, fresh_until, fresh_until)
        # A stale value is not fresh: another process may have computed it again.
        expires_at = user_expiry(entry)
        expiry = math.inf if expires_at is None else expires_at
        if self.ttl is None:
            fresh_until = expiry
        else:
            fresh_until = min(expiry, requested_at + self._jittered(self.ttl))
        refresh_at = fresh_until
        # Reading an entry again does not extend its own life. So one that is close to its own
        # expiry is refreshed once, to see whether it was put again; not repeatedly, at
        # ever-shorter intervals.
        ends_with_entry = is_refresh and fresh_until == expiry
        if self.refresh_ahead and fresh_until < math.inf and not ends_with_entry:
            refresh_at = requested_at + self.refresh_ahead * (fresh_until - requested_at)
        return Copy(entry, refresh_at, fresh_until)

    def usable_until(self, copy: Copy) -> float:
        """Return until when a copy may be served, fresh or stale, in Unix seconds."""
        if copy.entry is None or not self.stale_if_error:
            return copy.fresh_until
        expiry = copy.entry.expires_at
        stale_until = copy.fresh_until + self.stale_if_error
        return stale_until if expiry is None else min(expiry, stale_until)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - self._jitter * self._random()) if self._jitter else seconds
