"""Sliding expiration: a read renews the lifetime of an entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    LATEST,
    TTL,
    Collection,
    Entry,
    Finding,
    Layer,
    Measured,
    Passage,
    Store,
    checked_ttl,
    is_peeking,
    stale_part,
)
from kvwrap.layers.shared.findings import contextual_below
from kvwrap.layers.sliding_ttl.renewals import RenewalCounts, Renewals


class SlidingTTL(Layer):
    """Sliding expiration: a read renews the lifetime of an entry to `ttl`, counted from the read.

    Every method that returns a value renews: `get`, `ttl`, `require`, `get_versioned`, `items`,
    `get_or_put`, and their batches. `exists`, `keys`, `scan` and `count` do not. An entry is
    renewed when that lengthens its life by `at_most_every` seconds or more, so at most once in
    that time, and never shortened: one that was put with a longer ttl keeps it, and one without
    expiry stays without. One that was put with a shorter ttl gets `ttl` at its first read.

    No read waits for it. Renewals are collected and written in the background, in batches, on
    condition that the entry still is the one that was read. So a renewal never revives an expired
    entry, and never replaces what was put, or undoes what `expire` set, meanwhile. It keeps the
    entry's version. Where the store cannot compare versions, renewals are those of `expire`, and
    an entry put between read and renewal is given `ttl` too.

    A renewal that fails is counted, logged at most once a minute, and tried again by a read after
    `at_most_every` seconds. At most 10,000 renewals or 32 MiB of entries are pending; others are
    dropped, and tried again by the next read. Closing sends those pending for up to 5 seconds.

    Args:
        ttl: The lifetime that a read renews to, in seconds or as a `timedelta`.
        at_most_every: The time within which an entry is renewed at most once, in seconds or as a
            `timedelta`; below `ttl`. By default a tenth of `ttl`. An entry lives at least
            `ttl - at_most_every` after its last read.

    Raises:
        InvalidTTL: An argument is not a valid TTL.
        ConfigurationError: `at_most_every` is not below `ttl`.
    """

    passage = Passage(read="renews the lifetime of the entry", write="passes unchanged")
    traits = frozenset({"slides_ttl"})
    finding_codes = frozenset(
        {
            "context-lost",
            "sliding-inside-cache",
            "sliding-inside-encryption",
            "sliding-over-maximum",
        }
    )

    def __init__(self, ttl: TTL, *, at_most_every: TTL | None = None) -> None:
        self.ttl = checked_ttl(ttl)
        self.at_most_every = (
            self.ttl / 10 if at_most_every is None else checked_ttl(at_most_every, "at_most_every")
        )
        if self.at_most_every >= self.ttl:
            raise ConfigurationError(
                f"`at_most_every` must be below `ttl`, or entries would expire before they are "
                f"renewed; got at_most_every={self.at_most_every:g} and ttl={self.ttl:g}"
            )

    def on_bind(self) -> None:
        self._read = self.inner.read
        self._time = self.clock.time
        self._least_left = self.ttl - self.at_most_every
        self._renewals = Renewals(self.inner, self.at_most_every, owner=self.name)

    async def teardown(self) -> None:
        try:
            await self._renewals.stop()
        finally:
            await super().teardown()

    # -- observing and controlling -----------------------------------------------------

    @property
    def idle(self) -> bool:
        """True while no renewal is pending or being written."""
        return self._renewals.idle

    def snapshot(self) -> RenewalCounts:
        """Return the current counts."""
        return self._renewals.snapshot()

    def measured(self) -> Iterable[Measured]:
        return (self.snapshot(),)

    async def flush(self) -> None:
        """Write the renewals that are pending, and wait for their end."""
        await self._renewals.flush()

    # -- the primitive -----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        read, read_clock = self._read, self._time
        entries = await read(collection, keys)
        latest = 0.0
        for entry in entries:
            if entry is not None and (end := entry.expires_at) is not None:
                # Most entries have no expiry or are not due: nothing else is done for these.
                latest = latest or read_clock() + self._least_left
                if end <= latest or (
                    len(entry.codec) > 1 and end - stale_part(entry.codec) <= latest
                ):
                    await self._renew_due(collection, keys, entries)
                    break
        return entries

    async def _renew_due(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        """Collect the entries of a read that are due for a renewal."""
        if is_peeking():
            return
        now = self.clock.time()
        target = min(now + self.ttl, LATEST)
        due: dict[str, Entry] = {}
        for key, entry in zip(keys, entries, strict=True):
            if entry is not None and entry.expires_at is not None:
                # Stale entries are over for users, and a renewal moves the users' expiry.
                part = stale_part(entry.codec)
                if now < entry.expires_at - part <= target - self.at_most_every:
                    due[key] = entry.with_expiry(min(target + part, LATEST))
        if due and not self.is_open:
            await self.ready()
        self._renewals.add(collection, due)

    # -- findings and notes ------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from contextual_below(self, below)
        for layer in above:
            if "caches" in layer.traits:
                yield Finding(
                    "sliding-inside-cache",
                    f"A hit of {layer.name} never reaches SlidingTTL, so it renews nothing, and "
                    "an entry may expire although it is read all the time.",
                    "Put .slide_ttl(...) before the cache.",
                )
            if "encrypts" in layer.traits:
                yield Finding(
                    "sliding-inside-encryption",
                    f"SlidingTTL is inside {layer.name}, and no entry lives longer than the ttl "
                    "that was sealed with it, so no renewal has an effect.",
                    "Put .slide_ttl(...) before .encrypt(...).",
                )
        for layer in below:
            maximum = getattr(layer, "maximum", None) if "clamps_ttl" in layer.traits else None
            if maximum is not None and maximum < self.ttl:
                yield Finding(
                    "sliding-over-maximum",
                    f"{layer.name} cuts every renewal to {maximum:g} s, below ttl={self.ttl:g}.",
                    "Let ttl= be at most the maximum.",
                )

    def notes(self) -> Iterable[str]:
        yield (
            f"an entry with an expiry lives for at least {self.ttl - self.at_most_every:g} s after "
            "it was last read"
        )
