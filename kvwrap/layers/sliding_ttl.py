"""Sliding expiration: a read renews the lifetime of an entry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    LATEST,
    TTL,
    Capability,
    Collection,
    Entry,
    Finding,
    Layer,
    QualifiedKey,
    Store,
    checked_ttl,
    is_abandoned,
    is_peeking,
    is_running,
    stale_part,
    wait_for,
)
from kvwrap.layers.shared.findings import contextual_below

_log = logging.getLogger("kvwrap.sliding_ttl")

_BATCH = 500
_MAX_PENDING = 10_000
_MAX_PENDING_BYTES = 32 * 1024 * 1024
_MAX_RECENT = 10_000
_LOG_INTERVAL = 60.0
_SHUTDOWN_TIMEOUT = 5.0


class RenewalCounts(msgspec.Struct, frozen=True):
    """Counts of a `SlidingTTL` layer since it was put over its store.

    Attributes:
        renewed: Number of entries whose lifetime was renewed.
        superseded: Number of renewals without effect, since the entry was replaced, removed or
            over by then.
        failed: Number of entries whose renewal failed.
        dropped: Number of renewals that were not tried, since too many were pending or the store
            was closed.
    """

    renewed: int
    superseded: int
    failed: int
    dropped: int


class SlidingTTL(Layer):
    """Sliding expiration: a read renews the lifetime of an entry to `ttl`, counted from the read.

    Every method that returns a value renews: `get`, `ttl`, `require`, `get_versioned`, `items`,
    `get_or_put`, and their batches. `exists`, `keys`, `scan` and `count` do not. An entry is
    renewed when that lengthens its life by `at_most_every` seconds or more, so at most so often,
    and never shortened: one that was put with a longer ttl keeps it, and one without expiry
    stays without. One that was put with a shorter ttl gets `ttl` at its first read.

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
        at_most_every: The shortest time between two renewals of an entry, likewise; below `ttl`.
            By default a tenth of `ttl`. An entry lives at least `ttl - at_most_every` after its
            last read.

    Raises:
        InvalidTTL: An argument is not a valid TTL.
        ConfigurationError: `at_most_every` is not below `ttl`.
    """

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
        self.at_most_every = self.ttl / 10 if at_most_every is None else checked_ttl(at_most_every)
        if self.at_most_every >= self.ttl:
            raise ConfigurationError(
                f"`at_most_every` must be below `ttl`, or entries would expire before they are "
                f"renewed; got at_most_every={self.at_most_every:g} and ttl={self.ttl:g}"
            )

    def on_bind(self) -> None:
        self._compares = Capability.COMPARE_AND_PUT in self.inner.capabilities
        self._pending: dict[QualifiedKey, Entry] = {}
        self._pending_bytes = 0
        # The last renewals: version and time. A layer inside may cut what they lengthened.
        self._recent: dict[QualifiedKey, tuple[int, float]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._renewed = self._superseded = self._failed = self._dropped = 0
        self._logged_at = -_LOG_INTERVAL

    async def teardown(self) -> None:
        try:
            await wait_for(self.clock, _SHUTDOWN_TIMEOUT, self.flush())
        finally:
            self._dropped += len(self._pending)
            self._take_pending()
            worker, self._worker = self._worker, None
            if worker is not None and is_running(worker):
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
            await super().teardown()

    # -- observing and controlling -----------------------------------------------------

    @property
    def idle(self) -> bool:
        """True while no renewal is pending or being written."""
        worker = self._worker
        if worker is not None and is_abandoned(worker.get_loop()):
            return True
        return not self._pending and (worker is None or worker.done())

    def snapshot(self) -> RenewalCounts:
        """Return the current counts."""
        return RenewalCounts(self._renewed, self._superseded, self._failed, self._dropped)

    async def flush(self) -> None:
        """Write the renewals that are pending, and wait for their end."""
        self._start()
        while (worker := self._worker) is not None and is_running(worker):
            await asyncio.wait((worker,))
            self._start()

    # -- the primitive -----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        latest = 0.0
        for entry in entries:
            if entry is not None and (end := entry.expires_at) is not None:
                # Most entries have no expiry or are not due: nothing else is done for these.
                latest = latest or self.clock.time() + self.ttl - self.at_most_every
                if end - stale_part(entry.codec) <= latest:
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
        for key, entry in due.items():
            self._add((collection, key), entry)
        self._start()

    def _add(self, qualified: QualifiedKey, entry: Entry) -> None:
        now = self.clock.monotonic()
        version, tried_at = self._recent.get(qualified, (None, 0.0))
        if version == entry.version and now - tried_at < self.at_most_every:
            return
        size = self._pending_bytes + len(entry.body)
        if len(self._pending) >= _MAX_PENDING or (self._pending and size > _MAX_PENDING_BYTES):
            self._dropped += 1
            return
        self._recent.pop(qualified, None)
        self._recent[qualified] = (entry.version, now)
        if len(self._recent) > _MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._pending[qualified] = entry
        self._pending_bytes = size

    # -- the background ----------------------------------------------------------------

    def _take_pending(self) -> dict[QualifiedKey, Entry]:
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        return pending

    def _start(self) -> None:
        if self._pending and not is_running(self._worker):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._pending:
            by_collection: dict[Collection, dict[str, Entry]] = {}
            for (collection, key), entry in self._take_pending().items():
                by_collection.setdefault(collection, {})[key] = entry
            for collection, entries in by_collection.items():
                remaining = iter(entries.items())
                while batch := dict(islice(remaining, _BATCH)):
                    await self._renew(collection, batch)

    async def _renew(self, collection: Collection, entries: dict[str, Entry]) -> None:
        keys = list(entries)
        try:
            if self._compares:
                versions = [entry.version for entry in entries.values()]
                flags = await self.inner.write(collection, keys, list(entries.values()), versions)
            else:
                expires = [entry.expires_at for entry in entries.values()]
                flags = await self.inner.touch(collection, keys, expires)
        except Exception as error:
            self._record_failure(len(keys), error)
        else:
            self._renewed += sum(flags)
            self._superseded += len(flags) - sum(flags)

    def _record_failure(self, count: int, error: Exception) -> None:
        self._failed += count
        now = self.clock.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            _log.warning(
                "%s: renewing %d entries failed with %s; further failures are counted, and logged "
                "once in %g s",
                self.name,
                count,
                type(error).__name__,
                _LOG_INTERVAL,
            )

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
                    "Raise the maximum, or slide to a ttl within it.",
                )

    def notes(self) -> Iterable[str]:
        yield (
            f"an entry with an expiry lives for at least {self.ttl - self.at_most_every:g} s after "
            "it was last read"
        )
