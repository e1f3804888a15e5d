"""Lifetimes within bounds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected
from kvwrap.core.ttl import LATEST, TTL, checked_ttl
from kvwrap.errors import ConfigurationError


class TTLClamp(Layer):
    """Brings every ttl within bounds, and gives one to entries that have none.

    Args:
        minimum: The shortest lifetime, in seconds.
        maximum: The longest; an entry without a ttl gets it where there is no `default`.
        default: The lifetime of entries put without a ttl.
        jitter: The share of a lifetime, from 0 to below 1, that is taken off at random, so
            that entries put together do not expire together. Never below `minimum`.
        rng: Where the randomness comes from.

    With `jitter`, every key of a batch draws its own.
    """

    def __init__(
        self,
        *,
        minimum: TTL | None = None,
        maximum: TTL | None = None,
        default: TTL | None = None,
        jitter: float = 0.0,
        rng: random.Random | None = None,
    ) -> None:
        self.minimum = 0.0 if minimum is None else checked_ttl(minimum)
        self.maximum = None if maximum is None else checked_ttl(maximum)
        self.default = self.maximum if default is None else checked_ttl(default)
        if self.maximum is not None and self.minimum > self.maximum:
            raise ConfigurationError(f"minimum {minimum} is above maximum {maximum}")
        if not 0 <= jitter < 1:
            raise ConfigurationError(f"jitter is a share from 0 to below 1, not {jitter!r}")
        self.jitter = jitter
        self._random = (rng or random.Random()).random

    def clamped(self, ttl: float | None) -> float | None:
        """The lifetime, in seconds, that an entry with this one gets."""
        if ttl is None:
            ttl = self.default
            if ttl is None:
                return None
        if self.maximum is not None and ttl > self.maximum:
            ttl = self.maximum
        if self.jitter:
            ttl *= 1 - self.jitter * self._random()
        return max(ttl, self.minimum)

    def _end(self, start: float, end: float | None) -> float | None:
        ttl = self.clamped(None if end is None else end - start)
        return None if ttl is None else min(start + ttl, LATEST)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        clamped = [
            entry.with_expiry(self._end(entry.created_at, entry.expires_at)) for entry in entries
        ]
        return await self.inner.write(collection, keys, clamped, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        now = self.clock.time()
        return await self.inner.touch(collection, keys, [self._end(now, end) for end in expires])
