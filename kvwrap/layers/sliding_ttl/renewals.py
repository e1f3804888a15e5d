"""Renewals of lifetimes: collected, and written in the background."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from typing import ClassVar, Final

import msgspec

from kvwrap.core.capability import Capability
from kvwrap.core.concurrency import wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.figures import Measured, counter
from kvwrap.core.primitives import Collection, Primitives, QualifiedKey
from kvwrap.core.recent import Recent
from kvwrap.core.worker import Worker

_log = logging.getLogger("kvwrap.sliding_ttl")

_BATCH: Final = 500
_MAX_PENDING: Final = 10_000
_MAX_PENDING_BYTES: Final = 32 * 1024 * 1024
_MAX_RECENT: Final = 10_000
_LOG_INTERVAL: Final = 60.0
_SHUTDOWN_TIMEOUT: Final = 5.0


class RenewalCounts(Measured, msgspec.Struct, frozen=True):
    """Counts of a `SlidingTTL` layer since it was put over its store.

    Attributes:
        renewed: Number of entries whose lifetime was renewed.
        superseded: Number of renewals without effect, since the entry was replaced, removed or
            over by then.
        failed: Number of entries whose renewal failed.
        dropped: Number of renewals that were not tried, since too many were pending or the store
            was closed.
    """

    figures: ClassVar = (
        counter("renewals.renewed", "{entry}", "Entries whose lifetime was renewed."),
        counter("renewals.superseded", "{entry}", "Renewals of entries that were changed or over."),
        counter("renewals.failed", "{entry}", "Entries whose renewal failed."),
        counter("renewals.dropped", "{entry}", "Renewals that were not tried."),
    )
    renewed: int
    superseded: int
    failed: int
    dropped: int


class Renewals:
    """The renewals of one layer: pending ones, and the task that writes them.

    Args:
        inner: The part that holds the entries.
        at_most_every: Seconds after a renewal within which the same entry is not renewed again.
        owner: The name of the layer, for the log.
    """

    def __init__(self, inner: Primitives, at_most_every: float, *, owner: str) -> None:
        self._inner = inner
        self._clock = inner.clock
        self._at_most_every = at_most_every
        self._owner = owner
        self._compares = Capability.COMPARE_AND_PUT in inner.capabilities
        self._pending: dict[QualifiedKey, Entry] = {}
        self._pending_bytes = 0
        # The last renewals: version and time. A layer inside may cut what they lengthened.
        self._recent: Recent[QualifiedKey, tuple[int, float]] = Recent(_MAX_RECENT)
        self._worker = Worker(self._work, lambda: bool(self._pending))
        self._renewed = self._superseded = self._failed = self._dropped = 0
        self._logged_at = -_LOG_INTERVAL

    @property
    def idle(self) -> bool:
        """True while none is pending or being written."""
        return self._worker.idle

    def snapshot(self) -> RenewalCounts:
        """Return the current counts."""
        return RenewalCounts(self._renewed, self._superseded, self._failed, self._dropped)

    def add(self, collection: Collection, entries: Mapping[str, Entry]) -> None:
        """Collect renewals: the entries by key as they are to be written, with their versions."""
        for key, entry in entries.items():
            self._add((collection, key), entry)
        self._worker.start()

    async def flush(self) -> None:
        """Write those pending, and wait for their end."""
        await self._worker.drain()

    async def stop(self) -> None:
        """Write those pending for a limited time, and drop the others."""
        try:
            await wait_for(self._clock, _SHUTDOWN_TIMEOUT, self.flush())
        finally:
            self._dropped += len(self._take_pending())
            await self._worker.cancel()

    def _add(self, qualified: QualifiedKey, entry: Entry) -> None:
        now = self._clock.monotonic()
        version, tried_at = self._recent.get(qualified, (None, 0.0))
        if version == entry.version and now - tried_at < self._at_most_every:
            return
        size = self._pending_bytes + len(entry.body)
        if len(self._pending) >= _MAX_PENDING or (self._pending and size > _MAX_PENDING_BYTES):
            self._dropped += 1
            return
        self._recent.keep(qualified, (entry.version, now))
        self._pending[qualified] = entry
        self._pending_bytes = size

    def _take_pending(self) -> dict[QualifiedKey, Entry]:
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        return pending

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
                flags = await self._inner.write(collection, keys, list(entries.values()), versions)
            else:
                expires = [entry.expires_at for entry in entries.values()]
                flags = await self._inner.touch(collection, keys, expires)
        except Exception as error:
            self._record_failure(len(keys), error)
        else:
            self._renewed += sum(flags)
            self._superseded += len(flags) - sum(flags)

    def _record_failure(self, count: int, error: Exception) -> None:
        self._failed += count
        now = self._clock.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            _log.warning(
                "%s: renewing %d entries failed with %s; further failures are counted, and logged "
                "once in %g s",
                self._owner,
                count,
                type(error).__name__,
                _LOG_INTERVAL,
            )
