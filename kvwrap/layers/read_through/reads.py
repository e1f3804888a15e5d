"""Answers of a read-through cache, from near copies and from reads of the far store."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from math import inf
from typing import Any

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.core.turns import slices, turn
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.read_through.copies import decode
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.singleflight import SingleFlight
from kvwrap.layers.read_through.tier import Tier


class Reads:
    """Chooses, for each key of a call, between its near copy and the far store.

    Args:
        near: The near store.
        tier: The reads of the far store.
        freshness: How long copies are used.
        counts: The counts to add to.
        clock: The stack's clock.
    """

    def __init__(
        self, near: Store, tier: Tier, freshness: Freshness, counts: TierCounts, clock: Clock
    ) -> None:
        self._near = near
        self._tier = tier
        self._advisor = tier.advisor
        self._freshness = freshness
        self._counts = counts
        self._time = clock.time

    async def read_near(
        self, collection: Collection, keys: Sequence[str]
    ) -> dict[str, Entry | None]:
        """Return what the near store has of these keys; nothing if it fails."""
        near_entries: dict[str, Entry | None] = {}
        try:
            found = await self._near.read(collection, keys)
        except KvwrapError:
            self._counts.near_failures += 1
            return near_entries
        for part in slices(len(keys)):
            if part.start:
                await turn()
            near_entries.update(zip(keys[part], found[part], strict=True))
        return near_entries

    async def answer(
        self,
        collection: Collection,
        keys: Sequence[str],
        unique: Sequence[str],
        near_entries: dict[str, Entry | None],
        *,
        are_fresh: bool = True,
    ) -> list[Entry | None]:
        """Return the entries: from the near store's entries, the remaining from the far store.

        Args:
            collection: Where the keys are.
            keys: The keys.
            unique: The keys, each once.
            near_entries: What the near store has, by key.
            are_fresh: False if that may only be served when the far store is unavailable.
        """
        entries: dict[str, Entry | None] = {}
        stale: dict[str, Entry] = {}
        missing: list[str] = []
        for part in slices(len(unique)):
            if part.start:
                await turn()
            self._sort(collection, unique[part], near_entries, entries, stale, missing, are_fresh)
        if missing:
            self._counts.misses += len(missing)
            await self._fetch(collection, missing, entries, stale)
        found: list[Entry | None] = []
        for part in slices(len(keys)):
            if part.start:
                await turn()
            found += [entries[key] for key in keys[part]]
        return found

    def _sort(
        self,
        collection: Collection,
        keys: Sequence[str],
        near_entries: dict[str, Entry | None],
        entries: dict[str, Entry | None],
        stale: dict[str, Entry],
        missing: list[str],
        are_fresh: bool,
    ) -> None:
        """Add each key's entry to `entries`, or the key to `missing` and a stale copy to `stale`.

        Starts to refresh the copies that are due.
        """
        tier, counts = self._tier, self._counts
        to_refresh: list[str] = []
        missed = len(missing)
        now = self._time()
        for key in keys:
            near_entry = near_entries.get(key)
            copy = None if near_entry is None else decode(near_entry)
            if copy is not None and are_fresh and now < copy.fresh_until:
                entries[key] = copy.entry
                if copy.direct_until == -inf:
                    self._advisor.hit(collection, key, copy)
                if copy.entry is None:
                    counts.negative_hits += 1
                else:
                    counts.near_hits += 1
                    if now >= copy.refresh_at:
                        to_refresh.append(key)
                continue
            if (
                copy is not None
                and copy.entry is not None
                and now < self._freshness.usable_until(copy.entry, copy.fresh_until)
            ):
                stale[key] = copy.entry
                if (collection, key) in tier.cooldown:
                    entries[key] = copy.entry
                    counts.stale_served += 1
                    continue
            missing.append(key)
        if len(missing) > missed:
            self._advisor.miss(collection, missing[missed:])
        to_refresh = [
            key
            for key in to_refresh
            if tier.in_flight(collection, key) is None and (collection, key) not in tier.cooldown
        ]
        if to_refresh:
            counts.refreshes += len(to_refresh)
            tier.refresh(collection, to_refresh)

    def fetch_one(self, collection: Collection, key: str) -> Awaitable[Entry | None]:
        """Read one key without a near copy: start to, or join the read that is in flight."""
        self._counts.misses += 1
        self._advisor.miss(collection, (key,))
        if self._tier.in_flight(collection, key) is None:
            return self._tier.read_one(collection, key)
        return self._join(collection, key)

    async def _join(self, collection: Collection, key: str) -> Entry | None:
        entries: dict[str, Entry | None] = {}
        await self._fetch(collection, (key,), entries, {})
        return entries[key]

    async def _fetch(
        self,
        collection: Collection,
        missing: Sequence[str],
        entries: dict[str, Entry | None],
        stale: dict[str, Entry],
    ) -> None:
        """Add the missing entries to `entries`.

        Args:
            collection: Where the keys are.
            missing: The keys to read from the far store.
            entries: Where to put the entries, by key.
            stale: What to use where the far store is unavailable, by key.
        """
        tier, counts = self._tier, self._counts
        while missing:
            others: dict[SingleFlight, list[str]] = {}
            own = tier.flight(collection)
            await self._take(tier.read(own, missing, others), own.keys, entries, stale)
            missing = []
            for flight, keys in others.items():
                if await self._take(flight.result(), keys, entries, stale):
                    counts.joined += len(keys)
                else:
                    missing += keys

    async def _take(
        self,
        reading: Coroutine[Any, Any, dict[str, Entry | None] | None],
        keys: Sequence[str],
        entries: dict[str, Entry | None],
        stale: dict[str, Entry],
    ) -> bool:
        """Add what a flight returns for these keys. Returns False if it was abandoned."""
        try:
            far_entries = await reading
        except StoreUnavailable:
            now = self._time()
            stale_entries = {key: live(stale.get(key), now) for key in keys}
            if None in stale_entries.values():
                raise
            entries.update(stale_entries)
            self._counts.stale_served += len(keys)
            self._counts.misses -= len(keys)
            return True
        if far_entries is None:
            return False
        for part in slices(len(keys)):
            if part.start:
                await turn()
            now = self._time()
            entries.update((key, live(far_entries[key], now)) for key in keys[part])
        return True
