"""How long a near copy is used."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from kvwrap.core.entry import Entry
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_rng, checked_share
from kvwrap.errors import ConfigurationError
from kvwrap.layers.read_through.copies import Copy


class Freshness:
    """The times of `ReadThrough`, which says what each argument means."""

    def __init__(
        self,
        ttl: TTL | None,
        negative_ttl: TTL | None,
        stale_if_error: TTL | None,
        refresh_ahead: float | None,
        jitter: float,
        rng: random.Random | None,
    ) -> None:
        self.ttl = None if ttl is None else checked_ttl(ttl)
        self.negative = None if negative_ttl is None else checked_ttl(negative_ttl)
        self.stale = 0.0 if stale_if_error is None else checked_ttl(stale_if_error)
        if refresh_ahead is not None and checked_share(refresh_ahead, "refresh_ahead") in (0, 1):
            raise ConfigurationError(
                f"refresh_ahead is a share of a copy's life, between 0 and 1, not {refresh_ahead!r}"
            )
        self._jitter = checked_share(jitter, "jitter")
        if jitter == 1:
            raise ConfigurationError("a jitter of 1 would leave nothing of a lifetime")
        self.ahead = refresh_ahead
        self._random: Callable[[], float] = checked_rng(rng).random

    @property
    def longest(self) -> float:
        """The seconds after which no copy made now can still be of use."""
        return math.inf if self.ttl is None else max(self.ttl + self.stale, self.negative or 0.0)

    @property
    def outlive(self) -> bool:
        """Whether there may be a copy of what the far store is asked for."""
        return self.stale > 0 or self.ahead is not None

    def copy(self, entry: Entry | None, began: float, renewal: bool) -> Copy | None:
        """The copy to keep of what the far store gave, if one is to be kept.

        Args:
            entry: What it gave.
            began: When it was asked: counted from then, the bounds hold however slow it was.
            renewal: Whether it was asked ahead of the end of a copy.
        """
        if entry is None:
            if self.negative is None:
                return None
            fresh = began + self._jittered(self.negative)
            return Copy(None, fresh, fresh)
        end = math.inf if entry.expires_at is None else entry.expires_at
        fresh = end if self.ttl is None else min(end, began + self._jittered(self.ttl))
        renew = fresh
        # An entry at the end of its own life is not prolonged by reading it again: one look
        # whether somebody has put it anew, not one after the other at ever shorter distance.
        if self.ahead and fresh < math.inf and not (renewal and fresh == end):
            renew = began + self.ahead * (fresh - began)
        return Copy(entry, renew, fresh)

    def last_use(self, copy: Copy) -> float:
        """Until when the copy may be served, be it for want of an answer."""
        if copy.entry is None or not self.stale:
            return copy.fresh
        end = copy.entry.expires_at
        last = copy.fresh + self.stale
        return last if end is None else min(end, last)

    def _jittered(self, life: float) -> float:
        return life * (1 - self._jitter * self._random()) if self._jitter else life
