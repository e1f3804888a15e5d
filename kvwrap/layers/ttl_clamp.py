"""Lifetimes within bounds."""

from __future__ import annotations

import math
import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    LATEST,
    TTL,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    Layer,
    Store,
    checked_rng,
    checked_share,
    checked_ttl,
)


class TTLClamp(Layer):
    """Brings every ttl within bounds, and gives one to entries that have none.

    Args:
        minimum: The shortest lifetime, in seconds.
        maximum: The longest; an entry without a ttl gets it where there is no `default`.
        default: The lifetime of entries put without a ttl, from `minimum` to `maximum`.
        jitter: The share of a lifetime, from 0 to below 1, that is taken off at random, so
            that entries put together do not expire together. Never below `minimum`.
        rng: Where the randomness comes from.

    Raises:
        InvalidTTL: A bound is no lifetime.
        ConfigurationError: The bounds contradict each other, or `jitter` is no such share.

    `expire` is clamped as `put` is. What keeps the end that an entry has (`increment`)
    keeps it to the moment. With `jitter`, every key of a batch draws its own.
    """

    finding_codes = frozenset({"expiry-without-end"})

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
        for name, value, bound in (
            ("maximum", self.maximum, maximum),
            ("default", self.default, default),
        ):
            if value is not None and value < self.minimum:
                raise ConfigurationError(f"{name} {bound} is below minimum {minimum}")
        if self.maximum is not None and self.default is not None and self.default > self.maximum:
            raise ConfigurationError(f"default {default} is above maximum {maximum}")
        self.jitter = checked_share(jitter, "jitter")
        if jitter == 1:
            raise ConfigurationError("a jitter of 1 would leave nothing of a lifetime")
        # What lies between these needs no second look; with jitter, everything does.
        self._least = self.minimum
        self._most = math.inf if self.maximum is None else self.maximum
        if self.jitter:
            self._most = -math.inf
        self._random = checked_rng(rng).random

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

    def _end(self, now: float, end: float | None) -> float | None:
        if end is not None and self._least <= end - now <= self._most:
            return end
        ttl = self.clamped(None if end is None else end - now)
        return None if ttl is None else min(now + ttl, LATEST)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        # What is left now, not what there was when the entry was made: one that fills a
        # cache may be old.
        now = self.clock.time()
        least, most = self._least, self._most
        clamped = []
        for entry in entries:
            end = entry.expires_at
            within = end is not None and least <= end - now <= most
            clamped.append(entry if within else entry.with_expiry(self._end(now, end)))
        if expected is None:
            return self.inner.write(collection, keys, clamped)
        return self._write_where(collection, keys, entries, clamped, expected)

    async def _write_where(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        clamped: list[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        await self._keep_ends(collection, keys, entries, clamped, expected)
        return await self.inner.write(collection, keys, clamped, expected)

    async def _keep_ends(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        clamped: list[Entry],
        expected: Sequence[Expected],
    ) -> None:
        """Undo the clamping of what replaces a version and has the same end as that has."""
        changed = [
            place
            for place, version in enumerate(expected)
            if type(version) is int
            and entries[place].expires_at is not None
            and entries[place].expires_at != clamped[place].expires_at
        ]
        if changed:
            there = await self.inner.read(collection, [keys[place] for place in changed])
            for place, entry in zip(changed, there, strict=True):
                if (
                    entry is not None
                    and entry.version == expected[place]
                    and entry.expires_at == entries[place].expires_at
                ):
                    clamped[place] = entries[place]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        now = self.clock.time()
        return await self.inner.touch(collection, keys, [self._end(now, end) for end in expires])

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if not base.capabilities & {Capability.NATIVE_TTL, Capability.CULL}:
            yield Finding(
                "expiry-without-end",
                f"{base.name} never frees what has expired: such entries are no longer read, but "
                "go on taking up room.",
                "Use a backend that expires entries, or delete them yourself.",
            )
