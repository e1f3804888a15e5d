"""Keep every TTL within bounds."""

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
    Passage,
    Store,
    checked_rng,
    checked_share,
    checked_ttl,
    stale_part,
)


class TTLClamp(Layer):
    """Keeps every TTL within bounds, and gives one to entries that have none.

    Args:
        minimum: The shortest TTL, in seconds or as a `timedelta`.
        maximum: The longest TTL, likewise. It is also the TTL of entries put without one,
            if there is no `default`.
        default: The TTL of entries put without one, from `minimum` to `maximum`.
        jitter: The share of a TTL, from 0 to below 1, up to which it is shortened at random,
            so that entries put together do not expire together. Never below `minimum`.
        rng: Source of randomness; by default a new `random.Random`.

    Raises:
        InvalidTTL: A bound is not a valid TTL.
        ConfigurationError: The bounds contradict each other, or `jitter` is out of range.

    `expire` is clamped like `put`. An operation that keeps an entry's expiry (`increment`)
    keeps it exactly. With `jitter`, every key of a batch draws its own share.
    """

    passage = Passage(read="passes unchanged", write="gets a ttl within the bounds")
    traits = frozenset({"clamps_ttl"})
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
        self.minimum = 0.0 if minimum is None else checked_ttl(minimum, "minimum")
        self.maximum = None if maximum is None else checked_ttl(maximum, "maximum")
        self.default = self.maximum if default is None else checked_ttl(default, "default")
        for name, value, bound in (
            ("maximum", self.maximum, maximum),
            ("default", self.default, default),
        ):
            if value is not None and value < self.minimum:
                raise ConfigurationError(
                    f"`{name}` must be at least `minimum`; got {name}={bound} and minimum={minimum}"
                )
        if self.maximum is not None and self.default is not None and self.default > self.maximum:
            raise ConfigurationError(
                f"`default` must be at most `maximum`; got default={default} and maximum={maximum}"
            )
        self.jitter = checked_share(jitter, "jitter")
        if jitter == 1:
            raise ConfigurationError(
                "`jitter` must be below 1; got 1, which could shorten a TTL to nothing"
            )
        # A TTL between these stays as it is, and one above becomes the higher. With jitter, all
        # are below the lower.
        self._least = math.inf if self.jitter else self.minimum
        self._most = math.inf if self.jitter or self.maximum is None else self.maximum
        self._random = checked_rng(rng).random

    def clamped(self, ttl: float | None) -> float | None:
        """Return the TTL, in seconds, for an entry with this one; `None` is no expiry."""
        if ttl is None:
            ttl = self.default
            if ttl is None:
                return None
        if self.maximum is not None and ttl > self.maximum:
            ttl = self.maximum
        if self.jitter:
            ttl *= 1 - self.jitter * self._random()
        return max(self.minimum, ttl)

    def _clamp_expiry(self, now: float, expires_at: float | None) -> float | None:
        if expires_at is not None and self._least <= expires_at - now <= self._most:
            return expires_at
        ttl = self.clamped(None if expires_at is None else expires_at - now)
        return None if ttl is None else min(now + ttl, LATEST)

    def _clamp(self, now: float, entry: Entry) -> Entry:
        """Return the entry with the expiry to use instead of its own."""
        end = entry.expires_at
        if len(entry.codec) > 1 and (part := stale_part(entry.codec)):
            # The bounds are those of the user's ttl.
            end = self._clamp_expiry(now, None if end is None else end - part)
            return entry.with_expiry(None if end is None else min(end + part, LATEST))
        clamped = self._clamp_expiry(now, end)
        return entry if clamped is end else entry.with_expiry(clamped)

    def _clamp_all(self, now: float, entries: Sequence[Entry]) -> list[Entry]:
        return [self._clamp(now, entry) for entry in entries]

    def on_bind(self) -> None:
        self._time = self.clock.time
        self._write = self.inner.write

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        # The time left now counts, not the time since the entry was made: an entry that is
        # written to a near store may be old.
        read_clock, write = self._time, self._write
        now = read_clock()
        if expected is not None:
            return self._write_conditionally(collection, keys, entries, now, expected)
        if len(entries) > 1:
            return write(collection, keys, self._clamp_all(now, entries))
        # The common case, in which a call of `_clamp` would cost as much as the rest.
        entry = entries[0]
        end = entry.expires_at
        if end is None or len(entry.codec) > 1 or (left := end - now) < self._least:
            entries = (self._clamp(now, entry),)
        elif left > self._most:
            entries = (entry.with_expiry(now + self._most),)
        return write(collection, keys, entries)

    async def _write_conditionally(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        now: float,
        expected: Sequence[Expected],
    ) -> list[bool]:
        clamped = self._clamp_all(now, entries)
        await self._keep_existing_expiry(collection, keys, entries, clamped, expected)
        return await self.inner.write(collection, keys, clamped, expected)

    async def _keep_existing_expiry(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        clamped: list[Entry],
        expected: Sequence[Expected],
    ) -> None:
        """Undo the clamping of each entry that has the same expiry as the one it replaces."""
        changed = [
            index
            for index, version in enumerate(expected)
            if type(version) is int
            and entries[index].expires_at is not None
            and entries[index].expires_at != clamped[index].expires_at
        ]
        if changed:
            stored = await self.inner.read(collection, [keys[index] for index in changed])
            for index, entry in zip(changed, stored, strict=True):
                if (
                    entry is not None
                    and entry.version == expected[index]
                    and entry.expires_at == entries[index].expires_at
                ):
                    clamped[index] = entries[index]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        now = self.clock.time()
        clamped = [self._clamp_expiry(now, expires_at) for expires_at in expires]
        return await self.inner.touch(collection, keys, clamped)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if not base.capabilities & {Capability.NATIVE_TTL, Capability.CULL}:
            yield Finding(
                "expiry-without-end",
                f"{base.name} never frees expired entries: they are never returned, but they keep "
                "occupying space.",
                "Use a backend that expires entries, or delete them.",
            )
