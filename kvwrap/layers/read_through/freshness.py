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
from kvwrap.layers.read_through.copies import Copy, make


class Freshness:
    """The times of `ReadThrough`, which documents each argument.

    Attributes:
        ttl: In seconds; `None` for as long as the entry lives.
        negative_ttl: In seconds; `None` if misses are not remembered.
        stale_if_error: In seconds; 0 if stale copies are not served.
        refresh_ahead: Share of a copy's life; `None` if copies are not refreshed ahead.
        decoded: True if callers share the decoded values of copies.
        copy_may_exist: True if there may be a usable copy of a key that the far store is asked for.
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
        self.negative_ttl = (
            None if negative_ttl is None else checked_ttl(negative_ttl, "negative_ttl")
        )
        self.stale_if_error = (
            0.0 if stale_if_error is None else checked_ttl(stale_if_error, "stale_if_error")
        )
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
        self.copy_may_exist = self.stale_if_error > 0 or refresh_ahead is not None
        self._random: Callable[[], float] = checked_rng(rng).random

    @property
    def longest_life(self) -> float:
        """Seconds after which no copy that is made now can still be served."""
        if self.ttl is None:
            return math.inf
        return max(self.ttl + self.stale_if_error, self.negative_ttl or 0.0)

    def make_copy(
        self,
        entry: Entry | None,
        requested_at: float,
        is_refresh: bool,
        now: float,
        clock_offset: float,
    ) -> Copy | None:
        """Return the copy to keep of what the far store returned; `None` to keep nothing.

        Args:
            entry: The far entry; `None` for a miss.
            requested_at: When the far store was asked, in Unix seconds. Lifetimes count from
                then, so the bounds hold however slow it was.
            is_refresh: True if the far store was asked before the end of an earlier copy.
            now: The time, in Unix seconds.
            clock_offset: How many seconds the near store's clock is ahead of that time.
        """
        if entry is None:
            if self.negative_ttl is None:
                return None
            fresh_until = refresh_at = requested_at + self._jittered(self.negative_ttl)
        else:
            # A stale value is not fresh: another process may have computed it again.
            expires_at = user_expiry(entry)
            expiry = fresh_until = math.inf if expires_at is None else expires_at
            if self.ttl is not None:
                ttl_ends = requested_at + self._jittered(self.ttl)
                if ttl_ends < expiry:
                    fresh_until = ttl_ends
            refresh_at = fresh_until
            # Reading an entry again does not extend its own life. So one that is close to its
            # own expiry is refreshed once, to see whether it was put again; not repeatedly, at
            # ever-shorter intervals.
            ends_with_entry = is_refresh and fresh_until == expiry
            if self.refresh_ahead and fresh_until < math.inf and not ends_with_entry:
                refresh_at = requested_at + self.refresh_ahead * (fresh_until - requested_at)
        usable_until = fresh_until
        if self.stale_if_error:
            usable_until = self.usable_until(entry, fresh_until)
        if usable_until <= now:
            return None
        near_expiry = None if usable_until == math.inf else usable_until + clock_offset
        return make(entry, refresh_at, fresh_until, near_expiry)

    def usable_until(self, entry: Entry | None, fresh_until: float) -> float:
        """Return until when a copy may be served, fresh or stale, in Unix seconds.

        Args:
            entry: The far entry; `None` for a miss.
            fresh_until: Until when the copy is fresh.
        """
        if entry is None or not self.stale_if_error:
            return fresh_until
        stale_until = fresh_until + self.stale_if_error
        return stale_until if entry.expires_at is None else min(entry.expires_at, stale_until)

    def renewed_until(self, entry: Entry | None, now: float) -> float:
        """Return until when a copy would be fresh if it were made now, without jitter.

        Args:
            entry: The far entry; `None` for a miss.
            now: The time, in Unix seconds.
        """
        if entry is None:
            return now + (self.negative_ttl or 0.0)
        expires_at = user_expiry(entry)
        expiry = math.inf if expires_at is None else expires_at
        return expiry if self.ttl is None else min(expiry, now + self.ttl)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - self._jitter * self._random()) if self._jitter else seconds
